import pytest

from ncf_pipeline.airflow import alerts
from ncf_pipeline.alerts import Alert
from ncf_pipeline.errors import InputError

REFUSED = (
    r"^'model_hold' is not an alert kind: pass a constant of ncf_pipeline\.alerts\.kinds\. "
    r"The closest is kinds\.MODEL_HELD\.$"
)


def test_an_alert_of_an_unknown_kind_raises_instead_of_being_logged():
    with pytest.raises(InputError, match=REFUSED):
        alerts.warn("v7 is held.", kind="model_hold", key="v7")


def test_the_end_of_an_unknown_kind_raises_instead_of_being_logged():
    with pytest.raises(InputError, match=REFUSED):
        alerts.over("model_hold")


def test_no_alert_can_be_made_of_an_unknown_kind():
    with pytest.raises(InputError, match=REFUSED):
        Alert("model_hold", "v7", "v7 is held.")
