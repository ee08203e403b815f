"""The tree of our errors. Every message says what is wrong, the value seen, what is allowed, how to mend it.

ModelyardError           exit 1  anything that stops a command with one line
├── InputError           exit 2  what the user gave cannot be used
│   ├── ParamsError              params.yaml: unknown key, wrong type, out of range
│   ├── SourceError              a source that is missing, malformed, or not what its sha256 says
│   ├── ArtifactError            a file of an artifact is missing or is not what was recorded
│   └── NoTrafficError           nothing was asked of the service yet
├── GateError            exit 3  what was measured breaks a limit of the recipe
│   ├── BadRowsError             ingest: more rows cannot be read than max_bad_share allows
│   ├── ContractError            validate: the rows break the data contract
│   ├── LeakageError             preprocess: a text of one split comes again in another
│   ├── UnknownTokensError       preprocess: the tokenizer does not know more tokens than max_unknown_share allows
│   ├── QualityError             evaluate: below the bar, or not above the baseline
│   ├── CompressionError         compress: no candidate within the recipe's limits
│   ├── ParityError              package: the served bundle does not answer as the measured model
│   ├── PromotionError           promotion: the challenger is not as good as the champion
│   └── ConstraintsError         sweep: no trial within the recipe's constraints
├── TrainingError        exit 1  training cannot go on (loss not finite)
├── UnreachableError     exit 1  a registry, a hub or an address did not answer
├── StoreError           exit 1  an MLflow or Prefect store cannot be reached
├── DiskFullError        exit 1  no space left for an artifact
├── TimeLimitError       exit 1  a run took longer than its schedule allows
└── BusyError            exit 1  another run holds the recipe, or a port is taken
"""

import difflib
from collections.abc import Iterable, Mapping

MAX_EXAMPLES = 5


class ModelyardError(Exception):
    """The root of our errors: one line for the user, and the exit code of the command."""

    exit_code = 1
    is_transient = False
    """Whether another try may mend it: what did not answer may answer then; bad input and a failed gate stay."""

    @property
    def kind(self) -> str:
        """The name of the error's class, which `--json` shows."""
        return type(self).__name__


class InputError(ModelyardError):
    exit_code = 2


class ParamsError(InputError):
    pass


class SourceError(InputError):
    pass


class ArtifactError(InputError):
    pass


class NoTrafficError(InputError):
    pass


class GateError(ModelyardError):
    """The error of a failed gate; `report` holds the plain figures that it judged, for a person to read."""

    exit_code = 3

    def __init__(self, message: str, *, report: Mapping[str, object]) -> None:
        super().__init__(message)
        self.report = dict(report)


class BadRowsError(GateError):
    pass


class ContractError(GateError):
    pass


class LeakageError(GateError):
    pass


class UnknownTokensError(GateError):
    pass


class QualityError(GateError):
    pass


class CompressionError(GateError):
    pass


class ParityError(GateError):
    pass


class PromotionError(GateError):
    pass


class ConstraintsError(GateError):
    pass


class TrainingError(ModelyardError):
    pass


class UnreachableError(ModelyardError):
    is_transient = True


class StoreError(ModelyardError):
    is_transient = True


class DiskFullError(ModelyardError):
    pass


class TimeLimitError(ModelyardError):
    pass


class BusyError(ModelyardError):
    pass


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest allowed word, or an empty string."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def examples(values: Iterable[object], *, width: int = 60) -> str:
    """Return at most five values, each cut to `width` characters, for use in a message."""
    shown: list[str] = []
    more = 0
    for value in values:
        if len(shown) == MAX_EXAMPLES:
            more += 1
            continue
        text = repr(value)
        shown.append(text if len(text) <= width else text[: width - 1] + "…")
    return ", ".join(shown) + (f" and {more} more" if more else "")
