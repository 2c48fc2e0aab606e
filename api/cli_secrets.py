"""`clarion secrets`: the master key, and credentials sealed under it."""

from cyclopts import App

from api.cli import CommandError

app = App(name="secrets", help="Make and rotate the master key.", help_format="plaintext")


@app.command
def new_key() -> None:
    """Print a new master key, for CLARION_SECURITY__MASTER_KEY or the file of keys."""
    from sinks.sealing import new_master_key  # noqa: PLC0415 - what --help need not wait for

    print(new_master_key())  # noqa: T201 - a command's output


@app.command
def rotate_master() -> None:
    """Wrap all sealed credentials anew, under the newest master key.

    Put the new key in front of the old ones first, everywhere: then run this, and when it is done
    the old keys may go. Safe to run again; deliveries go on meanwhile.
    """
    from api.credential_rotation import rotate  # noqa: PLC0415 - what --help need not wait for

    done, faults = 0, 0
    for tenant, one in rotate():
        done, faults = done + (not one.fault), faults + bool(one.fault)
        print(f"{tenant}/{one.app}: {one.fault or 'wrapped anew'}")  # noqa: T201 - as above
    if faults:
        raise CommandError(f"{faults} credentials are not wrapped anew, keep the old keys")
    print(f"{done} wrapped anew; all are under the newest master key")  # noqa: T201 - as above
