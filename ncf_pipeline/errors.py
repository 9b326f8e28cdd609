"""Every error that this package raises on purpose.

    NcfError
     ├── PassingError       a fault that may pass: the same step may succeed when it is tried again
     ├── SettingsError      a setting is missing or not valid
     ├── ServiceError       an embedded server did not start, or stopped
     ├── RunError           a run in Airflow failed
     ├── InputError         a file, a row or an argument cannot be used
     │    └── SourceUnavailableError     a file cannot be read now (passing)
     ├── QualityError       data broke a critical rule, so none of it was used
     │    └── UncheckedError             this machine had no room to check a rule (passing)
     ├── DatabaseError      Postgres refused a statement
     │    └── DatabaseUnavailableError   Postgres cannot be reached, or cannot work now (passing)
     ├── ListStoreError     Redis refused a command
     │    ├── ListStoreUnavailableError  Redis cannot be reached, has no room, or others are in the way (passing)
     │    └── GoneError                  Redis no longer holds a publication, or holds only parts of it
     ├── ArtifactError      a model or a snapshot is missing or damaged, or the artifact store refused
     │    ├── StoreUnavailableError      the artifact store cannot be reached, or has no room now (passing)
     │    ├── DamagedModelError          a file of a model is missing, or its content is not what was written
     │    └── OutdatedModelError         a model is whole, but this version of the package computes other features
     ├── TrackingError      MLflow cannot be reached, or refused
     ├── SupersededError    another version became the champion meanwhile
     ├── ChangedMeanwhileError   what the lists depend on changed during every try
     │    └── ErasedMeanwhileError       a customer was erased meanwhile (passing)
     ├── ErasureError       something still names an erased customer
     └── TrainingError      training did not return a usable model

The message is one line for a person: what is wrong, where, and what to do. The adapter that meets a vendor's error
translates it once, with `raise ... from`, and asks `storage.faults.may_pass` whether the fault may pass. Tasks retry
errors that are also a `PassingError`, and no others of these.
"""

from ncf_pipeline.redaction import redacted


class NcfError(Exception):
    """Base of all of them. A command prints it as one line and exits with 1.

    The message is redacted when the error is made: vendors repeat the address that they were given.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(each) if isinstance(each, str) else each for each in args))


class PassingError(NcfError):
    """A fault that may pass, such as a lost connection, a timeout, a 503 or a full disk."""


class SettingsError(NcfError):
    """A setting is missing or not valid."""


class ServiceError(NcfError):
    """An embedded server did not start, or stopped."""


class RunError(NcfError):
    """A run in Airflow failed."""


class InputError(NcfError):
    """A file, a row or an argument cannot be used."""


class SourceUnavailableError(InputError, PassingError):
    """A file cannot be read now: its server does not answer, or this machine has no room for it."""


class QualityError(NcfError):
    """Data broke a critical rule, so none of it was used.

    Args:
        message: one line.
        details: more lines for the alert, such as examples and where to look.
    """

    def __init__(self, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.details = details


class UncheckedError(QualityError, PassingError):
    """This machine had no memory or no disk to check a rule. That says nothing about the data."""


class DatabaseError(NcfError):
    """Postgres cannot be reached, or refused a statement."""


class DatabaseUnavailableError(DatabaseError, PassingError):
    """Postgres cannot be reached, or cannot work now: it shuts down, has no room, or a lock was not free in time."""


class ListStoreError(NcfError):
    """Redis cannot be reached, or refused a command."""


class ListStoreUnavailableError(ListStoreError, PassingError):
    """Redis cannot be reached, or cannot work now: it loads, has no room, or others publish or roll back."""


class GoneError(ListStoreError):
    """Redis no longer holds a publication, or holds only parts of it."""


class ArtifactError(NcfError):
    """A model or a snapshot is missing or damaged, or the artifact store refused."""


class StoreUnavailableError(ArtifactError, PassingError):
    """The artifact store cannot be reached, does not answer in time, or has no room now."""


class DamagedModelError(ArtifactError):
    """A file of a model is missing, or its content is not what was written."""


class OutdatedModelError(ArtifactError):
    """A model is whole, but this version of the package computes other features."""


class TrackingError(NcfError):
    """MLflow cannot be reached, or refused. Nothing that serves depends on it."""


class SupersededError(NcfError):
    """Another version became the champion meanwhile, so this one's lists must not be published."""


class ChangedMeanwhileError(NcfError):
    """What the lists depend on, such as a merchandiser's rules, changed during every try to make them."""


class ErasedMeanwhileError(ChangedMeanwhileError, PassingError):
    """A customer was erased after the purchases were read, so what was made of them may name the customer."""


class ErasureError(NcfError):
    """Something still names a customer after their erasure."""


class TrainingError(NcfError):
    """Training did not return a usable model."""
