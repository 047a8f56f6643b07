//! The stages' programs by themselves, without waldo.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use waldo_sdk::ack;

#[test]
fn a_stage_that_waldo_did_not_start_says_so_in_one_line() {
    for program in [env!("CARGO_BIN_EXE_wanted"), env!("CARGO_BIN_EXE_visit"), env!("CARGO_BIN_EXE_collect")] {
        let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packages.tsv.gz");
        let ended = Command::new(program).arg(index).env_remove("WALDO_WIRING").output().expect(program);
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{program}: {words}");
        assert!(words.starts_with("error: ") && words.contains("WALDO_WIRING"), "{program}: {words}");
        assert_eq!(words.lines().count(), 1, "{program}: {words}");
    }
}

#[test]
fn a_stage_without_an_index_says_what_is_wrong() {
    for program in [env!("CARGO_BIN_EXE_wanted"), env!("CARGO_BIN_EXE_visit"), env!("CARGO_BIN_EXE_collect")] {
        for (arguments, expected) in [(&[][..], "must be the index"), (&["/no/such/index"], "/no/such/index")] {
            let ended = Command::new(program).args(arguments).output().expect(program);
            let words = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(1), "{program}: {words}");
            assert!(words.contains(expected), "{program}: {words}");
        }
    }
}

#[test]
fn python_and_the_sdk_write_and_read_the_same_ack_lines() {
    let payloads: Vec<Vec<u8>> = (0..=u8::MAX)
        .map(|byte| vec![b'a', byte, b'\\', byte])
        .chain([b"\\t\\n\\\\".to_vec(), b"\t\n\\".to_vec(), vec![], vec![b'x'; 100_000]])
        .collect();
    let mut asked = Vec::new();
    for payload in &payloads {
        asked.extend(ack::line("flow", b"k\te\ny\\", payload));
    }
    let mut python = Command::new("python3")
        .args(["-c", "import ack; ack.answer(lambda *record: [record])"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = python.stdin.take().expect("stdin");
    let writer = thread::spawn(move || stdin.write_all(&asked));
    let mut answered = Vec::new();
    python.stdout.take().expect("stdout").read_to_end(&mut answered).expect("answers");
    writer.join().expect("a thread").expect("all is written");
    assert!(python.wait().expect("its status").success());

    let mut expected = Vec::new();
    for payload in &payloads {
        expected.extend(ack::line("flow", b"k\te\ny\\", payload));
        expected.push(b'\n');
    }
    assert!(answered == expected, "{}", String::from_utf8_lossy(&answered));
}
