"""``python -m api``: the same as the ``clarion`` command."""

from api.cli import main

main()
