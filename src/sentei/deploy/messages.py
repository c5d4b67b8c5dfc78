"""Why a library refused, in one line."""

MAX_LENGTH = 400


def reason(error: BaseException) -> str:
    """Return the type and text of the error that started the chain, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    if len(text) > MAX_LENGTH:
        text = f"{text[:MAX_LENGTH]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
