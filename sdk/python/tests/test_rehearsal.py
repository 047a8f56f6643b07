"""What the package does without any process."""

import subprocess
import sys
import unittest

import waldo
from waldo.testing import Rehearsal


class Rehearsals(unittest.TestCase):
    def test_gives_records_and_keeps_what_is_sent(self):
        stage = Rehearsal([("say", "k", "hello"), ("say", b"l", b"bye")], outputs=["shout"])
        for record in stage:
            stage.send("shout", record.key, record.payload.upper())
        self.assertEqual(stage.sent, [("shout", b"k", b"HELLO"), ("shout", b"l", b"BYE")])
        self.assertEqual(stage.handled, 2)

    def test_refuses_what_the_stage_would(self):
        stage = Rehearsal(outputs=["shout"])
        with self.assertRaisesRegex(waldo.Failure, "does not send flow `shuot`; the topology lets it send: shout"):
            stage.send("shuot", "", "")
        stage.finish()
        with self.assertRaisesRegex(ValueError, "finished"):
            stage.send("shout", "", "")

    def test_a_record_in_hand_is_done_when_the_next_is_asked_for(self):
        stage = Rehearsal([("say", "", "1"), ("say", "", "2")])
        records = iter(stage)
        next(records)
        self.assertEqual(stage.handled, 0)
        next(records)
        self.assertEqual(stage.handled, 1)
        stage.close()
        self.assertEqual(stage.handled, 1)

    def test_the_state_directory_is_there_while_the_rehearsal_is(self):
        stage = Rehearsal()
        (stage.state_directory / "file").write_text("kept")
        self.assertEqual((stage.state_directory / "file").read_text(), "kept")


class Running(unittest.TestCase):
    def setUp(self):
        self.stage, self.opened = Rehearsal([("say", "k", "1"), ("say", "k", "no"), ("say", "k", "3")]), waldo.stage
        waldo.stage = lambda: self.stage

    def tearDown(self):
        waldo.stage = self.opened

    def test_what_raises_goes_to_the_rejects(self):
        waldo.run(lambda stage, record: stage.send("n", "", str(int(record.payload))), rejects="bad")
        self.assertEqual(self.stage.sent, [("n", b"", b"1"), ("bad", b"k", b"no"), ("n", b"", b"3")])
        self.assertEqual(self.stage.handled, 3)

    def test_what_raises_without_rejects_stops_the_stage_with_its_record_in_hand(self):
        with self.assertRaises(ValueError):
            waldo.run(lambda stage, record: int(record.payload))
        self.assertEqual(self.stage.handled, 1)


class Alone(unittest.TestCase):
    def test_says_that_waldo_starts_it(self):
        program = [sys.executable, "-c", "import waldo; waldo.stage()"]
        ended = subprocess.run(program, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("WALDO_WIRING is not set: this program is started by waldo", ended.stderr)


if __name__ == "__main__":
    unittest.main()
