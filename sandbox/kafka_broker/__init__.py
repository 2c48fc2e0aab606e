"""A small Kafka broker for the demo and tests: one node, in memory, in one process.

Run it with ``python -m sandbox.kafka_broker``. What it keeps of Kafka's promises, and what it does
not, is in docs/decisions/0003-embedded-broker.md.
"""
