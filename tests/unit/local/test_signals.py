import os
import signal

import pytest

from ncf_pipeline.local.signals import ending_in_order, undisturbed


def test_sigterm_runs_the_clean_up():
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


def test_a_second_ctrl_c_does_not_interrupt_the_clean_up():
    before = signal.getsignal(signal.SIGINT)
    with undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == before
