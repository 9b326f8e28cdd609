"""Every error that this package raises on purpose.

    NcfError
     ├── SettingsError      a setting is missing or makes no sense
     ├── ServiceError       an embedded server did not start, or died
     ├── RunError           a run in Airflow failed
     ├── InputError         a file, a row or an argument that cannot be used
     ├── QualityError       data broke a critical rule as a whole
     ├── DatabaseError      Postgres refused, or is not there
     ├── ListStoreError     Redis refused, or is not there
     │    └── GoneError            it holds a publication no longer, or only parts of it
     ├── ArtifactError      a model or a snapshot is missing or damaged
     │    ├── DamagedModelError    a part of it is missing, or is not what was written
     │    └── OutdatedModelError   it is whole, but this version of the package computes other features
     ├── SupersededError    another version was made to serve meanwhile
     ├── ChangedMeanwhileError   what the lists depend on changed during every try
     ├── ErasureError       something still names an erased customer
     └── TrainingError      training cannot give a usable model

The message is one line for a person: what is wrong, where, and what to do. A vendor's error
is translated once, at the adapter that met it, with `raise ... from`.
"""


class NcfError(Exception):
    """Base of all. The command line prints it as one line and exits with 1."""


class SettingsError(NcfError):
    """A setting is missing or makes no sense."""


class ServiceError(NcfError):
    """An embedded server did not start, or died."""


class RunError(NcfError):
    """A run in Airflow failed."""


class InputError(NcfError):
    """A file, a row or an argument that cannot be used."""


class QualityError(NcfError):
    """Data broke a critical rule as a whole, so none of it was taken.

    Args:
        message: one line.
        details: what on-call should see beside it, such as examples and where to look; some lines of text.
    """

    def __init__(self, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.details = details


class DatabaseError(NcfError):
    """Postgres refused, or is not there."""


class ListStoreError(NcfError):
    """Redis refused, or is not there."""


class GoneError(ListStoreError):
    """Redis holds a publication no longer, or only parts of it."""


class ArtifactError(NcfError):
    """A model or a snapshot is missing or damaged."""


class DamagedModelError(ArtifactError):
    """A part of a model is missing, or is not what was written."""


class OutdatedModelError(ArtifactError):
    """A model is whole, but this version of the package computes other features."""


class SupersededError(NcfError):
    """Another version was made to serve meanwhile, so that this one's lists must not be published."""


class ChangedMeanwhileError(NcfError):
    """What the lists depend on, such as a merchandiser's rules, changed during every try to make them."""


class ErasureError(NcfError):
    """A customer was to be erased, and something still names them."""


class TrainingError(NcfError):
    """Training cannot give a usable model."""
