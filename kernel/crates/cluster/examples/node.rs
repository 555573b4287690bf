//! The `nuna` program as the tests of this crate need it: `scheduler` and `worker`, with an executor whose stages are
//! words such as `square` or `sleep 20`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nuna_plan::{Executor, Prepared, Stage, TaskError, Value};
use nuna_runtime::Executors;

// Linked for its build id alone: peers are accepted only if they run the same shared library.
use nuna as _;

struct Words;

struct Word {
    words: Vec<String>,
}

impl Executor for Words {
    fn prepare(&self, stage: &Stage) -> Result<Box<dyn Prepared>, TaskError> {
        let text = String::from_utf8(stage.work.payload.clone())
            .map_err(|error| TaskError::fatal(error.to_string()))?;
        Ok(Box::new(Word { words: text.split_whitespace().map(str::to_owned).collect() }))
    }
}

fn number(value: &Value) -> u64 {
    u64::from_le_bytes(value.body[..8].try_into().expect("values of these stages have at least 8 bytes"))
}

fn value(number: u64, length: usize) -> Value {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(length.max(8), 0);
    Value { header: Bytes::from_static(b"u64"), body: Bytes::from(body) }
}

fn mix(block: u64, inputs: &[Vec<Value>]) -> u64 {
    let start = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    inputs.iter().flatten().map(number).fold(start, |mixed, input| mixed.rotate_left(5).wrapping_add(input))
}

impl Prepared for Word {
    fn run(&self, block: u64, inputs: Vec<Vec<Value>>) -> Result<Value, TaskError> {
        let argument = |at: usize| self.words[at].parse::<u64>().expect("the test wrote a number");
        match self.words[0].as_str() {
            // The same, for all processes of a host to share.
            "shared" => Ok(Value {
                header: Bytes::from_static(nuna_ship::scatter::SHARED),
                ..value(block, argument(1) as usize)
            }),
            // The number, and a line in a file for each time it was computed.
            "note" => {
                use std::io::Write as _;
                let mut options = std::fs::File::options();
                let file = options.create(true).append(true).open(&self.words[1]);
                // In one write: others append at the same time.
                file.and_then(|mut file| file.write_all(format!("{block}\n").as_bytes()))
                    .map_err(|error| TaskError::fatal(error.to_string()))?;
                Ok(value(block, argument(2) as usize))
            }
            "index" => Ok(value(block, 8)),
            "square" => Ok(value(block * block, 8)),
            // The number, in a value of so many bytes.
            "large" => Ok(value(block, argument(1) as usize)),
            "sum" => Ok(value(inputs.iter().flatten().map(number).sum(), 8)),
            "sleep" => {
                std::thread::sleep(Duration::from_millis(argument(1)));
                Ok(value(inputs.iter().flatten().map(number).sum::<u64>() + block, 8))
            }
            // Takes so many milliseconds, and shows the order and number of its inputs.
            "mix" => {
                std::thread::sleep(Duration::from_millis(argument(1)));
                Ok(value(mix(block, &inputs), 8))
            }
            // The same, written to a file of the folder named; what is delivered is its length.
            "store" => {
                std::thread::sleep(Duration::from_millis(argument(1)));
                let folder = std::path::Path::new(&self.words[2]);
                let bytes = mix(block, &inputs).to_le_bytes();
                // Written beside and moved, since two workers may write the same block.
                let beside = folder.join(format!("{block}.{}.new", std::process::id()));
                std::fs::write(&beside, bytes)
                    .and_then(|()| std::fs::rename(&beside, folder.join(block.to_string())))
                    .map_err(|error| TaskError::fatal(error.to_string()))?;
                Ok(value(bytes.len() as u64, 8))
            }
            "fail" if block == argument(1) => {
                Err(TaskError::fatal("the store at s3://nowhere does not answer"))
            }
            "panic" if block == argument(1) => panic!("index {block} is one too many"),
            // Fails as long as there is no file, which it makes.
            "flaky" => {
                let path = format!("{}-{block}", self.words[1]);
                if std::path::Path::new(&path).exists() {
                    return Ok(value(block, 8));
                }
                std::fs::write(path, "tried").expect("the test's folder is there");
                Err(TaskError::transient("try again"))
            }
            // Takes its worker with it.
            "crash" if block == argument(1) => std::process::abort(),
            _ => Ok(value(block, 8)),
        }
    }
}

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let options = std::path::Path::new(&arguments[3]);
    let words: Arc<dyn Executor> = Arc::new(Words);
    let result = match arguments[1].as_str() {
        "scheduler" => {
            nuna_runtime::scheduler::Options::read(options).and_then(nuna_runtime::scheduler::serve)
        }
        // The real closures beside the words, which take the place of arrays.
        _ => nuna_runtime::worker::Options::read(options).and_then(|mut options| {
            // As `nuna worker` understands them.
            let value = |flag: &str| {
                let at = arguments.iter().position(|argument| argument == flag)?;
                arguments.get(at + 1).cloned()
            };
            options.name = value("--name").unwrap_or(options.name);
            options.ends_at = value("--ends-at").map(|at| at.parse()).transpose()?;
            nuna_runtime::worker::serve(options, Executors { array: words, call: nuna_ship::executor() })
        }),
    };
    if let Err(error) = result {
        tracing::error!("{error:#}");
        std::process::exit(1);
    }
}
