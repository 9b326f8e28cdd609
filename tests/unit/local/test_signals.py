import os
import signal

import pytest

from ncf_pipeline.local.signals import ending_in_order, undisturbed


def test_a_polite_kill_runs_what_must_run_at_the_end():
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)

    def work():
        with ending_in_order():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            finally:
                cleaned.append(True)

    with pytest.raises(SystemExit) as left:
        work()
    assert left.value.code == 128 + signal.SIGTERM
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_impatient_ctrl_c_does_not_cut_a_clean_up_short():
    before = signal.getsignal(signal.SIGINT)
    with undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == before
