"""What the API takes and gives about erasures and exports."""

from schemas.content import Wire
from schemas.erasures import ErasureState
from schemas.fields import Id, Time


class StoreView(Wire):
    """What was removed from a store. note: what stays there, and until when."""

    store: str
    removed: int
    swept_at: Time | None = None
    note: str = ""


class Receipt(Wire):
    """What was done. user_hash: keyed; tells with the user's id whether it was this user."""

    erasure_id: str
    tenant: str
    user_hash: str
    state: ErasureState
    requested_at: Time
    erased_at: Time | None = None
    completed_at: Time | None = None
    stores: tuple[StoreView, ...] = ()


class ErasureView(Receipt):
    """An erasure as it stands. signature: of the receipt, that is, of all other fields."""

    signature: str


class ReceiptCheck(Wire):
    """A receipt as it was given, to be looked at. user_id: to know whether it was this user."""

    receipt: ErasureView
    user_id: Id | None = None


class ReceiptAnswer(Wire):
    """is_valid: signed here, and unchanged since. is_of_user: null when no user was named."""

    is_valid: bool
    is_of_user: bool | None = None
