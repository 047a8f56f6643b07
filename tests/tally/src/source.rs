//! The source: sends records with numbers, and goes on with the next number when it is started again.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use waldo_sdk::Stage;
use waldo_tally::{Record, keys_of, laps_of};

use crate::{Call, own_name};

/// How often a source that has nothing to send looks whether it still has to wait.
const BREATH: Duration = Duration::from_millis(1);
/// A source that was kept from sending makes up for at most this much.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Sends until it is asked to stop, or all has been sent.
pub fn run(call: &Call) -> Result<(), Box<dyn Error>> {
    let [flow] = &call.flows[..] else { return Err("a source sends one flow".into()) };
    let (rate, keys) = (call.setting("rate", 1_000).max(1), call.setting("keys", 64));
    let zipf = (call.setting("zipf", 0) > 0).then(|| Zipf::new(keys, call.setting("zipf", 0) as f64 / 100.0));
    let (laps, until) = (call.setting("laps", 3), call.setting("until", u64::MAX));
    let pause = call.books.join("pause");
    let (server, process) = own_name()?;
    let sender = format!("{server}/{process}#{}", std::env::var("WALDO_INCARNATION")?);
    let mut stage = Stage::open()?;
    let name = own_or_new_name(&stage, &format!("{server}.{process}"))?;
    let mut account = Account::open(call, &name)?;
    let each = Duration::from_secs(1) / u32::try_from(rate)?;
    let mut due = Instant::now();
    let mut sent = 0;
    while account.sent < until && !stage.stopping() {
        let now = Instant::now();
        if due > now || pause.exists() {
            stage.flush()?;
            sleep(BREATH);
            due = due.max(Instant::now().checked_sub(CATCH_UP).unwrap_or(now));
            continue;
        }
        // As many as are due, before it is looked at the clock and the pause again.
        for _ in 0..=(now - due).as_nanos() / each.as_nanos() {
            if account.sent >= until {
                break;
            }
            let number = account.begin()?;
            let key = zipf.as_ref().map_or_else(|| keys_of(number, keys), |zipf| zipf.key_of(number));
            let laps = laps_of(number, laps);
            sent += 1;
            let record = Record { key: &key, source: &name, number, lap: 0, laps, sender: &sender, nth: sent };
            match stage.send(flow, key.as_bytes(), record.to_string().as_bytes()) {
                Ok(()) => account.end()?,
                Err(waldo_sdk::Error::Stopped) => {
                    account.take_back()?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            due += each;
        }
    }
    Ok(stage.finish()?)
}

/// Keys that come as in Zipf's law: the n-th of them 1 / n^exponent times as often as the first.
struct Zipf {
    /// Which part of all records the keys up to each have.
    up_to: Vec<f64>,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=keys.max(1))
            .map(|key| {
                sum += (key as f64).powf(-exponent);
                sum
            })
            .collect();
        for part in &mut up_to {
            *part /= sum;
        }
        Self { up_to }
    }

    /// The key of this number, the same each time; numbers in a row are as good as drawn.
    fn key_of(&self, number: u64) -> String {
        // The golden ratio's multiples are spread evenly (Weyl).
        let drawn = (number as f64 * 0.618_033_988_749_894_9).fract();
        format!("z{}", self.up_to.partition_point(|&part| part < drawn) + 1)
    }
}

/// The name that this source's numbers belong to: kept in its state directory, as long as that is.
fn own_or_new_name(stage: &Stage, like: &str) -> Result<String, Box<dyn Error>> {
    let path = stage.state_directory().join("name");
    if let Ok(name) = fs::read_to_string(&path) {
        return Ok(name);
    }
    let name = format!("{like}.{:x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    fs::write(&path, &name)?;
    Ok(name)
}

/// How far a source is: the last number that it has begun to send, and the last one that it has sent. They differ by
/// one while it sends.
struct Account {
    file: File,
    sent: u64,
}

impl Account {
    fn open(call: &Call, name: &str) -> Result<Self, Box<dyn Error>> {
        for part in ["sent", "unsure"] {
            fs::create_dir_all(call.books.join(part))?;
        }
        let path = call.books.join("sent").join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; 16];
        if file.metadata()?.len() == 16 {
            file.read_exact_at(&mut bytes, 0)?;
        }
        let [begun, sent] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|place| bytes[at + place])));
        if begun > sent {
            // It was killed in between: nobody knows whether this one went out.
            let unsure = OpenOptions::new().create(true).append(true).open(call.books.join("unsure").join(name));
            unsure?.write_all(&begun.to_le_bytes())?;
        }
        let mut account = Self { file, sent: begun };
        account.end_at(begun)?;
        Ok(account)
    }

    fn begin(&mut self) -> std::io::Result<u64> {
        let number = self.sent + 1;
        self.file.write_all_at(&number.to_le_bytes(), 0)?;
        Ok(number)
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.end_at(self.sent + 1)
    }

    fn end_at(&mut self, number: u64) -> std::io::Result<()> {
        self.sent = number;
        self.file.write_all_at(&number.to_le_bytes(), 8)
    }

    fn take_back(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.sent.to_le_bytes(), 0)
    }
}
