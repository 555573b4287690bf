//! The driver between a real journal and a batch system that does what the test says.

use nuna_pbs::fake::FakeBatch;

use super::*;
use crate::lifecycle::fleet::Owners;
use crate::lifecycle::polling::PollPlan;
use crate::lifecycle::state::Limits;
use crate::secret::Code;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    batch: Arc<FakeBatch>,
    keeper: Keeper,
    ending: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Arc::new(FakeBatch::new()))
    }

    fn with(folder: tempfile::TempDir, batch: Arc<FakeBatch>) -> Self {
        let journal = Arc::new(Journal::open(&folder.path().join("state")).unwrap());
        let limits = Limits {
            queue_wait: PATIENCE,
            start: PATIENCE,
            lost: Duration::from_millis(50),
            remember: PATIENCE,
            unclaimed: Duration::ZERO,
            servers_max: 10,
            servers_per_user_max: 100,
        };
        let clock = Clock::start();
        let plan = PollPlan::new(Duration::from_millis(5));
        let records = journal.servers().unwrap();
        let fleet = Fleet::restored(clock.now(), journal.tag_prefix(), Owners::Users, plan, limits, records);
        let (ending, ended) = watch::channel(false);
        let driver = Driver {
            fleet,
            batch: batch.clone(),
            journal,
            heart: nuna_systemd::Heart::default(),
            metrics: Arc::default(),
            clock,
            command_max: PATIENCE,
        };
        let (keeper, task) = driver.start(ended);
        Self { batch, keeper, ending, task, folder }
    }

    async fn request(&self, number: u64) -> ServerId {
        let id = format!("{number:06x}{:026x}", 0);
        let code = Code::generate().unwrap();
        let spec = Spec {
            tag: format!("nuna-0000{}", &id[..6]),
            id: ServerId::parse(&id).unwrap(),
            user: "alice".parse().unwrap(),
            server_name: number.to_string(),
            profile: "small".to_owned(),
            queue: "workq".to_owned(),
            walltime_seconds: 3600,
            requested: crate::clock::Millis(0),
            code: code.digest(),
            environment: Some(code.seal(b"{}").unwrap()),
            ticket: None,
            asked_every: None,
        };
        let (id, script) = (spec.id.clone(), format!("#PBS -N {}\n", spec.tag));
        assert_eq!(self.keeper.request(spec, script).await, Some(Answer::Accepted));
        id
    }

    async fn until(&self, id: &ServerId, state: &str) {
        let mut watch = self.keeper.watch(id).unwrap();
        tokio::time::timeout(PATIENCE, watch.wait_for(|view| view.state == state)).await.unwrap().unwrap();
    }

    /// Until PBS was asked this many times more.
    async fn queries(&self, more: usize) {
        let enough = self.batch.queries() + more;
        let all = async {
            while self.batch.queries() < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }

    async fn end(self) -> (tempfile::TempDir, Arc<FakeBatch>) {
        self.ending.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        (self.folder, self.batch)
    }
}

/// `query_other_jobs = False`: the list is whole as far as qstat knows, and lacks everybody's jobs.
#[tokio::test]
async fn jobs_that_pbs_hides_are_not_gone() {
    let world = World::start();
    let id = world.request(1).await;
    world.until(&id, "queued").await;
    world.batch.set_blind(true);
    world.queries(10).await;
    assert_eq!(world.keeper.view(&id).unwrap().state, "queued");
    // And one that is gone is noticed once it can be.
    let (_, job, _) = world.batch.submissions().remove(0);
    world.batch.forget(&job);
    world.batch.set_blind(false);
    world.until(&id, "gone").await;
}

#[tokio::test]
async fn all_is_in_the_journal_when_the_service_ends() {
    let world = World::start();
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(world.request(number).await);
    }
    for id in &ids {
        world.until(id, "queued").await;
    }
    world.keeper.stop(&ids[0]).await;
    world.until(&ids[0], "gone").await;
    let (folder, batch) = world.end().await;
    let world = World::with(folder, batch);
    let states = ids.iter().map(|id| world.keeper.view(id).unwrap().state).collect::<Vec<_>>();
    assert_eq!(states, ["gone", "queued", "queued", "queued", "queued"]);
    assert_eq!(world.batch.submissions().len(), 5, "nothing is submitted again");
}

/// A `qsub` that cannot be run has submitted nothing; one that is not understood may have.
#[tokio::test]
async fn a_failed_submission_is_judged_by_what_it_may_have_done() {
    let world = World::start();
    world.batch.refuse_next(SubmitError::NotRun { message: "no such file".to_owned() });
    let id = world.request(1).await;
    world.until(&id, "gone").await;
    assert!(world.keeper.view(&id).unwrap().message.contains("no such file"));
    world.batch.refuse_next(SubmitError::Failed { message: "a riddle".to_owned() });
    let id = world.request(2).await;
    let mut watch = world.keeper.watch(&id).unwrap();
    tokio::time::timeout(PATIENCE, watch.wait_for(|view| view.state == "stopping")).await.unwrap().unwrap();
    world.until(&id, "gone").await;
    assert!(world.keeper.view(&id).unwrap().message.contains("a riddle"));
}
