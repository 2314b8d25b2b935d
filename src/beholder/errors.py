"""Errors meant for people: one sentence that says what went wrong, why, and what to do."""


class BeholderError(Exception):
    """Bad input or a missing part. The command line prints the message, without a traceback, and exits with 2."""


class MissingExtra(BeholderError, ImportError):
    """An optional dependency is not installed; the message gives the pip command."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: run  pip install 'beholder[{extra}]'")
        self.package, self.extra = package, extra


class UnreadableImage(BeholderError):
    """One file cannot be used as an image. It is named with `reason` and skipped; the others go on."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self):  # exceptions with two arguments do not survive pickling between workers otherwise
        return (UnreadableImage, (self.path, self.reason))
