"""ClickHouse's error codes and the HTTP statuses its server gives them."""

BAD_ARGUMENTS = 36
INCORRECT_DATA = 117
NOT_IMPLEMENTED = 48
QUERY_IS_TOO_LARGE = 229
READONLY = 164
SYNTAX_ERROR = 62

_NAMES = {
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    INCORRECT_DATA: "INCORRECT_DATA",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    READONLY: "READONLY",
    SYNTAX_ERROR: "SYNTAX_ERROR",
}

_STATUS_BY_CODES = {
    400: {6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376}
    | {427, 441, 675, 676},
    401: {194},
    403: {192, 193, 497, 512, 516},
    404: {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511},
    408: {159},
    413: {229},
    501: {48},
    503: {76, 209, 439},
}
_STATUS = {code: status for status, codes in _STATUS_BY_CODES.items() for code in codes}


def http_status(code: int) -> int:
    """Give the HTTP status for an error code; 500 for every other one.

    Source: src/Server/HTTP/exceptionCodeToHTTPStatus.cpp of ClickHouse, its names turned into
    codes by the engine's errorCodeToName().
    """
    return _STATUS.get(code, 500)


def error_text(code: int, text: str) -> str:
    """Word an error of the facade's own as the engine words its errors."""
    return f"Code: {code}. DB::Exception: {text}. ({_NAMES[code]})"
