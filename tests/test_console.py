"""What a person who watches is told: lanes, speed, time left."""

from recipe_jax.app.console import Counted
from recipe_jax.app.watched import Watched


def told(label="search", *, rounds, lanes=10, lane_steps=100, diverged=0, stopped=0, best=None):
    return Watched(label, rounds, lanes, lane_steps, diverged, stopped, best)


def test_lanes_are_counted_when_their_group_ends_and_steps_on_the_way():
    counted = Counted(planned=2000, began=0.0)
    counted = counted.plus(told(rounds=(2, 5), best=0.5))
    assert (counted.steps, counted.done) == (200, 0)
    counted = counted.plus(told(rounds=(5, 5), diverged=1, stopped=2, best=0.75))
    assert (counted.steps, counted.done) == (500, 10)
    counted = counted.plus(told("finalists", rounds=(1, 5), lanes=4, lane_steps=40, best=0.75))
    assert counted.steps == 540
    assert counted.told(5.4) == (
        "best 0.75 · 10 done · 1 diverged · 2 stopped · 100 lane-steps/s · 15 s left"
    )


def test_nothing_is_said_of_speed_before_there_is_any():
    assert Counted(planned=100, began=0.0).told(0.5) == "0 done"
    done = Counted(planned=50, began=0.0).plus(told(rounds=(1, 1)))
    # A plan that fell short promises nothing.
    assert done.told(10.0) == "10 done · 10 lane-steps/s"
