from __future__ import annotations

from serve.circuit import Circuit


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_circuit_opens_after_failures_in_a_row_only() -> None:
    circuit = Circuit(3, 10.0, Clock())
    for _ in range(2):
        circuit.failed()
    circuit.succeeded()
    for _ in range(2):
        circuit.failed()
    assert circuit.state == "closed"
    circuit.failed()
    assert circuit.state == "open"


def test_circuit_lets_one_request_try_after_the_cooldown() -> None:
    clock = Clock()
    circuit = Circuit(1, 10.0, clock)
    circuit.failed()
    assert circuit.opens_in_s == 10
    clock.now_s += 10
    assert circuit.state == "half_open"
    circuit.started()
    assert circuit.state == "open"


def test_circuit_closes_when_the_trial_succeeds_and_opens_when_it_fails() -> None:
    clock = Clock()
    circuit = Circuit(3, 10.0, clock)
    for _ in range(3):
        circuit.failed()
    clock.now_s += 10
    circuit.started()
    circuit.failed()
    assert circuit.state == "open"
    clock.now_s += 10
    circuit.started()
    circuit.succeeded()
    assert circuit.state == "closed"
