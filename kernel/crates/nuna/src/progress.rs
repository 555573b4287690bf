//! Owns progress in a notebook: one display below a cell that computes for longer than a moment, with a row for each
//! computation, brought up to date in its place. Plain programs show nothing, and a cell that is quick does not either.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nuna_plan::{
    Engine, EngineError, Plan, Progress,
    watch::{self, Follow, Watch},
};

use crate::{
    display::{self, Display},
    views::escape,
};

/// What has been waited for so long is shown.
const SHOW_AFTER: Duration = Duration::from_millis(500);
/// Between two updates; ends are shown at once.
const UPDATE: Duration = Duration::from_millis(250);
/// Rows in full; of more, those that are done are summed up.
const ROWS_MAX: usize = 8;
const LABEL_CHARS_MAX: usize = 72;
/// Before that, nobody can tell how long it will take.
const ESTIMATE_AFTER: Duration = Duration::from_secs(1);

/// Whether the person wants to see progress.
static WANTED: AtomicBool = AtomicBool::new(true);
/// Number of the run of a cell that is under way, 0 between cells.
static CELL: AtomicU64 = AtomicU64::new(0);
static BOARD: Mutex<Option<Board>> = Mutex::new(None);

/// Shows progress of computations below cells, or no longer. It is shown unless `NUNA_PROGRESS` is `0` or `off`.
pub fn progress(shown: bool) {
    WANTED.store(shown, Relaxed);
}

/// Called by the process that runs cells: computations are shown from now on.
pub fn show_in_cells() {
    let setting = std::env::var("NUNA_PROGRESS").unwrap_or_default();
    if matches!(setting.to_ascii_lowercase().as_str(), "0" | "off" | "false" | "no") {
        progress(false);
    }
    watch::set_watch(Some(Arc::new(Notebook)));
}

/// A cell begins; what it computes is shown with it.
pub(crate) fn begin_cell() {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    *board() = None;
    CELL.store(NEXT.fetch_add(1, Relaxed), Relaxed);
}

/// The cell has ended; computations that go on without it are left at what is known of them.
pub fn end_cell() {
    CELL.store(0, Relaxed);
    if let Some(mut ended) = board().take()
        && ended.leave()
    {
        ended.send();
    }
}

fn board() -> MutexGuard<'static, Option<Board>> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Notebook;

impl Watch for Notebook {
    fn follow(&self, plan: &Plan, tasks: Option<u64>, engine: &Arc<dyn Engine>) -> Option<Box<dyn Follow>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let total = plan.block_count();
        if total == 0 || !WANTED.load(Relaxed) || CELL.load(Relaxed) == 0 {
            return None;
        }
        let stages = plan.stages.iter().map(|stage| (stage.name.clone(), stage.grid.count())).collect();
        let row = Row {
            number: NEXT.fetch_add(1, Relaxed),
            label: shortened(&plan.label),
            tasks,
            stages,
            begun: Instant::now(),
            progress: Progress { total, ..Progress::default() },
            crew: String::new(),
            state: State::Running,
        };
        Some(Box::new(Follower { row, engine: engine.clone(), cell: 0, waits_since: Instant::now() }))
    }
}

/// One computation, with whoever waits for it.
struct Follower {
    row: Row,
    engine: Arc<dyn Engine>,
    /// The cell in which it is waited for.
    cell: u64,
    waits_since: Instant,
}

impl Follow for Follower {
    fn progress(&mut self, progress: &Progress) {
        let cell = CELL.load(Relaxed);
        let now = Instant::now();
        if cell != self.cell {
            // A later cell waits for what an earlier one has started.
            self.cell = cell;
            self.waits_since = if self.row.progress.done == 0 { self.row.begun } else { now };
        }
        self.row.progress.clone_from(progress);
        if cell == 0 || now - self.waits_since < SHOW_AFTER || !WANTED.load(Relaxed) {
            return;
        }
        self.row.crew = crew(self.engine.as_ref());
        let mut board = board();
        if CELL.load(Relaxed) != cell {
            return;
        }
        let board = board.get_or_insert_with(Board::new);
        board.put(&self.row);
        if board.sent.is_none_or(|sent| now - sent >= UPDATE) {
            board.send();
        }
    }

    fn ended(&mut self, progress: &Progress, result: Result<(), &EngineError>) {
        self.row.progress.clone_from(progress);
        self.end(match result {
            Ok(()) => State::Done,
            Err(EngineError::Cancelled) => State::Interrupted,
            Err(_) => State::Failed,
        });
    }
}

impl Follower {
    fn end(&mut self, state: fn(Duration) -> State) {
        self.row.state = state(self.row.begun.elapsed());
        let mut board = board();
        // Whatever was not shown while it ran is not worth showing.
        if let Some(board) = board.as_mut().filter(|board| board.has(self.row.number)) {
            board.put(&self.row);
            board.send();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The program has dropped what it waited for.
        if self.row.state == State::Running {
            self.end(State::Left);
        }
    }
}

fn crew(engine: &dyn Engine) -> String {
    match engine.worker_count() {
        Some(count) => counted(count as u64, "worker"),
        None => counted(engine.thread_count() as u64, "thread"),
    }
}

/// What is shown below one cell.
struct Board {
    id: String,
    rows: Vec<Row>,
    /// Done and no longer shown one by one: how many, and how long they took.
    earlier: (u64, Duration),
    sent: Option<Instant>,
}

#[derive(Clone)]
struct Row {
    number: u64,
    label: String,
    /// How many tasks its blocks hold, if people count those.
    tasks: Option<u64>,
    /// Names and numbers of blocks.
    stages: Vec<(String, u64)>,
    begun: Instant,
    progress: Progress,
    /// Who works on it.
    crew: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done(Duration),
    Failed(Duration),
    Interrupted(Duration),
    /// Its cell has ended before it.
    Left(Duration),
}

impl Board {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("nuna-progress-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        Self { id, rows: Vec::new(), earlier: (0, Duration::ZERO), sent: None }
    }

    fn has(&self, number: u64) -> bool {
        self.rows.iter().any(|row| row.number == number)
    }

    fn put(&mut self, row: &Row) {
        match self.rows.iter_mut().find(|known| known.number == row.number) {
            Some(known) => known.clone_from(row),
            None => self.rows.push(row.clone()),
        }
        while self.rows.len() > ROWS_MAX {
            let done = self.rows.iter().position(|row| matches!(row.state, State::Done(_)));
            let Some(State::Done(took)) = done.map(|at| self.rows.remove(at).state) else { return };
            self.earlier = (self.earlier.0 + 1, self.earlier.1 + took);
        }
    }

    /// Marks what still runs; false if nothing does.
    fn leave(&mut self) -> bool {
        let mut any = false;
        for row in self.rows.iter_mut().filter(|row| row.state == State::Running) {
            row.state = State::Left(row.begun.elapsed());
            any = true;
        }
        any
    }

    fn send(&mut self) {
        match self.sent.replace(Instant::now()) {
            None => display::display_as(&self.id, self),
            Some(_) => display::update(&self.id, self),
        }
    }

    fn before(&self) -> Option<String> {
        let (count, took) = self.earlier;
        (count > 0).then(|| format!("{} before, {}", counted(count, "computation"), seconds(took)))
    }
}

impl Display for Board {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        let mut text: Vec<String> = self.before().into_iter().collect();
        let mut html = String::from(
            "<div class=\"nuna-progress\" style=\"font-family:var(--jp-ui-font-family,sans-serif);\
             font-size:var(--jp-ui-font-size1,13px);color:var(--jp-ui-font-color1,inherit);\
             font-variant-numeric:tabular-nums\">",
        );
        for line in &text {
            let _ = write!(html, "<div>{}</div>", escape(line));
        }
        for row in &self.rows {
            text.push(format!("{}: {}", row.label, row.words()));
            html.push_str(&row.html());
        }
        html.push_str("</div>");
        vec![("text/plain".to_owned(), text.join("\n")), ("text/html".to_owned(), html)]
    }
}

impl Row {
    /// Done and all, in what people count.
    fn counts(&self) -> (u64, u64, &'static str) {
        let Progress { done, total, .. } = self.progress;
        match self.tasks {
            Some(tasks) if total > 0 => {
                let done = u128::from(done) * u128::from(tasks) / u128::from(total);
                (u64::try_from(done).unwrap_or(tasks), tasks, "task")
            }
            _ => (done, total, "block"),
        }
    }

    fn words(&self) -> String {
        let (done, total, unit) = self.counts();
        let so_far = format!("{done} of {}", counted(total, unit));
        let read = match self.progress.read_bytes {
            0 => String::new(),
            bytes => format!(", {} read", nuna_cluster::show_bytes(bytes)),
        };
        match self.state {
            State::Running => {
                let elapsed = self.begun.elapsed();
                let left = self.left(elapsed).map(|left| format!(", about {} left", seconds(left)));
                format!(
                    "{so_far}{}{read}, {}{}, {}",
                    self.stage().unwrap_or_default(),
                    seconds(elapsed),
                    left.unwrap_or_default(),
                    self.crew
                )
            }
            State::Done(took) => {
                format!("{}{read}, done in {} by {}", counted(total, unit), seconds(took), self.crew)
            }
            State::Failed(took) => format!("failed after {}, {so_far} done", seconds(took)),
            State::Interrupted(took) => format!("interrupted after {}, {so_far} done", seconds(took)),
            State::Left(took) => format!("not waited for any longer after {}, {so_far} done", seconds(took)),
        }
    }

    /// Which stage is at work, if there are several.
    fn stage(&self) -> Option<String> {
        let count = self.stages.len();
        let done = |number: usize| self.progress.stages.get(number).copied().unwrap_or(0);
        let open = |number: &usize| done(*number) < self.stages[*number].1;
        let number = (0..count).find(|number| open(number) && done(*number) > 0).or((0..count).find(open))?;
        (count > 1)
            .then(|| format!(", stage {} of {count}: {}", number + 1, shortened(&self.stages[number].0)))
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let Progress { done, total, .. } = self.progress;
        if done == 0 || elapsed < ESTIMATE_AFTER || done >= total {
            return None;
        }
        Some(elapsed.mul_f64((total - done) as f64 / done as f64))
    }

    fn html(&self) -> String {
        let (label, words) = (escape(&self.label), escape(&self.words()));
        let (done, total, _) = self.counts();
        match self.state {
            State::Running => format!(
                "<label style=\"display:flex;flex-wrap:wrap;gap:0 0.8em;align-items:center\"><span>{label}</span>\
                 <progress value=\"{done}\" max=\"{}\" style=\"flex:1 1 10em;max-width:28em;\
                 accent-color:var(--jp-brand-color1,#1976d2)\"></progress>\
                 <span style=\"color:var(--jp-ui-font-color2,inherit)\">{words}</span></label>",
                total.max(1)
            ),
            State::Done(_) => format!(
                "<div><span aria-hidden=\"true\" style=\"color:var(--jp-success-color1,#388e3c)\">✓</span> {label}: \
                 <span style=\"color:var(--jp-ui-font-color2,inherit)\">{words}</span></div>"
            ),
            State::Failed(_) | State::Interrupted(_) => format!(
                "<div><span aria-hidden=\"true\" style=\"color:var(--jp-error-color1,#d32f2f)\">✗</span> {label}: \
                 {words}</div>"
            ),
            State::Left(_) => format!("<div>{label}: {words}</div>"),
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LABEL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(LABEL_CHARS_MAX - 1).chain(['…']).collect()
}

fn counted(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// `3.2 s`, `4 min 5 s`, `2 h 3 min`.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        whole => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State) -> Row {
        Row {
            number: 1,
            label: "mean(<theta>)".into(),
            tasks: None,
            stages: vec![("read theta".into(), 8), ("mean".into(), 2)],
            begun: Instant::now(),
            progress: Progress { done: 5, total: 10, stages: vec![5, 0], read_bytes: 2_500_000 },
            crew: "2 workers".into(),
            state,
        }
    }

    #[test]
    fn a_row_says_how_far_it_is_and_how_it_ended() {
        let running = row(State::Running).words();
        assert!(running.starts_with("5 of 10 blocks, stage 1 of 2: read theta, 2.5 MB read, "), "{running}");
        assert!(running.ends_with(", 2 workers"), "{running}");
        let took = Duration::from_millis(3210);
        assert_eq!(row(State::Done(took)).words(), "10 blocks, 2.5 MB read, done in 3.2 s by 2 workers");
        assert_eq!(row(State::Failed(took)).words(), "failed after 3.2 s, 5 of 10 blocks done");
        assert_eq!(row(State::Interrupted(took)).words(), "interrupted after 3.2 s, 5 of 10 blocks done");
    }

    #[test]
    fn a_farm_counts_tasks_and_not_the_batches_they_travel_in() {
        let farm = Row { tasks: Some(1000), ..row(State::Running) };
        assert_eq!(farm.counts(), (500, 1000, "task"));
        let whole = Progress { done: 10, total: 10, ..Progress::default() };
        assert_eq!(Row { progress: whole, ..farm }.counts().0, 1000);
    }

    #[test]
    fn time_left_is_what_the_rest_takes_at_the_same_pace() {
        let half = row(State::Running);
        assert_eq!(half.left(Duration::from_secs(6)), Some(Duration::from_secs(6)));
        assert_eq!(half.left(Duration::from_millis(600)), None, "too early to tell");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 5 s");
    }

    #[test]
    fn html_has_a_labelled_bar_and_no_markup_of_the_label() {
        let mut board = Board::new();
        board.put(&row(State::Running));
        let html = &board.mime_bundle()[1].1;
        assert!(html.contains("<label") && html.contains("<progress value=\"5\" max=\"10\""), "{html}");
        assert!(html.contains("mean(&lt;theta&gt;)") && !html.contains("<theta>"), "{html}");
        board.put(&row(State::Done(Duration::from_secs(1))));
        assert!(!board.mime_bundle()[1].1.contains("<progress"), "a line is all that stays");
    }

    #[test]
    fn many_computations_are_summed_up() {
        let mut board = Board::new();
        for number in 0..20 {
            board.put(&Row { number, ..row(State::Done(Duration::from_secs(1))) });
        }
        assert_eq!(board.rows.len(), ROWS_MAX);
        assert!(board.mime_bundle()[0].1.starts_with("12 computations before, 12.0 s\n"));
    }
}
