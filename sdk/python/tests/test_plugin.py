"""The fixture, where there is pytest."""

import waldo

pytest_plugins = ["waldo.testing"]


def test_the_fixture_is_what_the_program_opens(waldo_stage):
    stage = waldo_stage([("say", "k", "hello")], outputs=["shout"])
    opened = waldo.stage()
    for record in opened:
        opened.send("shout", record.key, record.payload.upper())
    assert stage.sent == [("shout", b"k", b"HELLO")]
    assert stage.state_directory.is_dir()
