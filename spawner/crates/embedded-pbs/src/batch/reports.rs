//! Owns what `qstat` and `pbsnodes` show of the batch system: jobs, queues, server and nodes as PBS lists them.
//! Nothing here changes anything.

use jiff::Timestamp;

use super::{Batch, PBS_VERSION, Target, nodes::FreeNode};
use crate::{
    attributes::Object,
    error::Refusal,
    job::{Counts, Job, Key},
    protocol::Filter,
    resources::{format_duration, parse_duration},
    settings::QueueSettings,
};

impl Batch {
    /// `qstat` and `qselect`: the jobs asked for, and what was wrong with the other names.
    pub(crate) fn status(
        &self,
        now: Timestamp,
        ids: &[String],
        filter: &Filter,
    ) -> (Vec<Object>, Vec<Refusal>) {
        let mut objects = Vec::new();
        let mut refusals = Vec::new();
        let wanted = |job: &Job, by_id: bool| {
            (if filter.only_ended { job.is_history() } else { !job.is_history() || filter.history || by_id })
                && (filter.users.is_empty() || filter.users.contains(&job.owner))
                && filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
                && filter.job_name.as_ref().is_none_or(|name| *name == job.submission.name)
        };
        // Jobs of arrays are shown with their array.
        let of_queue = |queue: Option<&str>| {
            let listed = self.memory.jobs.values().filter(|job| {
                job.index.is_none() && queue.is_none_or(|queue| job.queue == queue) && wanted(job, false)
            });
            listed.collect::<Vec<_>>()
        };
        if ids.is_empty() {
            of_queue(None).into_iter().for_each(|job| self.show(now, job, filter, &mut objects));
        }
        for id in ids {
            if !id.starts_with(|first: char| first.is_ascii_digit()) {
                match self.settings.queue(id) {
                    Some(queue) => of_queue(Some(&queue.name))
                        .into_iter()
                        .for_each(|job| self.show(now, job, filter, &mut objects)),
                    None => refusals.push(Refusal::unknown_destination(id)),
                }
                continue;
            }
            match self.find(id) {
                Err(refusal) => refusals.push(refusal),
                Ok((target, full)) => {
                    let job = &self.memory.jobs[&Key::alone(target.sequence())];
                    if job.is_finished() && !filter.history && !filter.only_ended {
                        refusals.push(Refusal::job_finished_status(&full));
                    } else if wanted(job, true) {
                        match target {
                            Target::Job(_) | Target::Array(_) => self.show(now, job, filter, &mut objects),
                            Target::Some { indices, .. } => {
                                let has =
                                    |index: &u32| job.array.as_ref().is_some_and(|array| array.has(*index));
                                let there = indices.iter().take_while(|index| {
                                    job.array.as_ref().is_some_and(|array| array.reaches(*index))
                                });
                                objects.extend(there.filter(has).map(|index| self.one_of(now, job, index)));
                            }
                        }
                    }
                }
            }
        }
        objects.retain(|object| {
            filter.states.is_empty()
                || object.get("job_state").chars().all(|letter| filter.states.contains(letter))
        });
        (objects, refusals)
    }

    /// A job; of an array, also its jobs if they are asked for.
    fn show(&self, now: Timestamp, job: &Job, filter: &Filter, objects: &mut Vec<Object>) {
        let Some(array) = &job.array else {
            if !filter.only_arrays {
                objects.push(job.object(&self.server, now, &Counts::default()));
            }
            return;
        };
        if !(filter.only_arrays && filter.expand) {
            objects.push(job.object(&self.server, now, &self.counts(job)));
        }
        if filter.expand {
            objects.extend(array.indices().into_iter().map(|index| self.one_of(now, job, index)));
        }
    }

    /// A job of an array: its own record once it has begun, its array's otherwise.
    fn one_of(&self, now: Timestamp, job: &Job, index: u32) -> Object {
        match self.memory.jobs.get(&Key { sequence: job.sequence, index: Some(index) }) {
            Some(one) => one.object(&self.server, now, &Counts::default()),
            None => job.object_of_absent(&self.server, index, now),
        }
    }

    fn state_count(&self, now: Timestamp, queue: Option<&str>) -> (usize, String) {
        let letters: Vec<char> = self
            .memory
            .jobs
            .values()
            .filter(|job| queue.is_none_or(|queue| job.queue == queue && !job.is_finished()))
            .map(|job| job.letter(now))
            .collect();
        let count = |wanted: char| letters.iter().filter(|letter| **letter == wanted).count();
        let text = format!(
            "Transit:0 Queued:{} Held:{} Waiting:{} Running:{} Exiting:0 Begun:{} ",
            count('Q'),
            count('H'),
            count('W'),
            count('R'),
            count('B')
        );
        (letters.len(), text)
    }

    fn assigned(&self, queue: Option<&str>) -> (u64, u32, u32) {
        self.running().filter(|(job, _)| queue.is_none_or(|queue| job.queue == queue)).fold(
            (0, 0, 0),
            |(mem, ncpus, nodes), (job, _)| {
                let request = &job.request;
                (mem + request.mem_kb().unwrap_or(0), ncpus + request.ncpus(), nodes + request.chunk_count())
            },
        )
    }

    pub(crate) fn queues(&self, now: Timestamp, names: &[String]) -> (Vec<Object>, Vec<Refusal>) {
        let mut refusals = Vec::new();
        for name in names {
            if self.settings.queue(name).is_none() {
                refusals.push(Refusal::unknown_destination(name));
            }
        }
        let objects = self
            .settings
            .queues
            .iter()
            .filter(|queue| names.is_empty() || names.contains(&queue.name))
            .map(|queue| self.queue_object(now, queue))
            .collect();
        (objects, refusals)
    }

    fn queue_object(&self, now: Timestamp, queue: &QueueSettings) -> Object {
        let mut object = Object::new(&queue.name);
        object.text("queue_type", "Execution");
        let (total, states) = self.state_count(now, Some(&queue.name));
        object.text("total_jobs", total);
        object.text("state_count", states);
        if let Some(users) = &queue.acl_users {
            object.text("acl_user_enable", "True");
            object.text("acl_users", users.join(","));
        }
        let pairs = |pairs: [(&str, Option<String>); 3]| -> Vec<(String, String)> {
            pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        };
        let clock = |text: &Option<String>| text.as_deref().and_then(parse_duration).map(format_duration);
        let maxima = pairs([
            ("mem", queue.max_mem.clone()),
            ("ncpus", queue.max_ncpus.map(|ncpus| ncpus.to_string())),
            ("walltime", clock(&queue.max_walltime)),
        ]);
        if !maxima.is_empty() {
            object.resources("resources_max", maxima);
        }
        let defaults = pairs([
            ("mem", queue.default_mem.clone()),
            ("ncpus", None),
            ("walltime", clock(&queue.default_walltime)),
        ]);
        if !defaults.is_empty() {
            object.resources("resources_default", defaults);
        }
        let (mem, ncpus, nodes) = self.assigned(Some(&queue.name));
        object.resources(
            "resources_assigned",
            [("mem", format!("{mem}kb")), ("ncpus", ncpus.to_string()), ("nodect", nodes.to_string())]
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        );
        object.text("enabled", if queue.is_enabled() { "True" } else { "False" });
        object.text("started", if queue.is_started() { "True" } else { "False" });
        object.text_if("max_array_size", queue.max_array_size);
        object
            .text_if("max_queued", queue.max_queued_per_user.map(|limit| format!("[u:PBS_GENERIC={limit}]")));
        object.text_if("max_run", queue.max_run_per_user.map(|limit| format!("[u:PBS_GENERIC={limit}]")));
        object
    }

    pub(crate) fn server_object(&self, now: Timestamp) -> Object {
        let mut object = Object::new(&self.server);
        object.text("server_state", "Active");
        object.text("server_host", &self.server);
        object.text("scheduling", "True");
        let (total, states) = self.state_count(now, None);
        object.text("total_jobs", total);
        object.text("state_count", states);
        object.text("default_queue", &self.settings.default_queue);
        object.text("query_other_jobs", "True");
        object.resources("resources_default", vec![("ncpus".to_owned(), "1".to_owned())]);
        object.resources("default_chunk", vec![("ncpus".to_owned(), "1".to_owned())]);
        let (mem, ncpus, nodes) = self.assigned(None);
        object.resources(
            "resources_assigned",
            [("mem", format!("{mem}kb")), ("ncpus", ncpus.to_string()), ("nodect", nodes.to_string())]
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        );
        object.text("max_array_size", self.settings.max_array_size);
        object.text("pbs_version", PBS_VERSION);
        object.text("job_history_enable", "True");
        object.text("job_history_duration", format_duration(self.settings.history_seconds));
        object
    }

    pub(crate) fn nodes(&self, names: &[String]) -> (Vec<Object>, Vec<Refusal>) {
        let free = self.free_nodes();
        let mut refusals = Vec::new();
        for name in names {
            if !self.settings.nodes.iter().any(|node| node.name == *name) {
                refusals.push(Refusal::internal(format!("Unknown node {name}")));
            }
        }
        let objects = self
            .settings
            .nodes
            .iter()
            .zip(&free)
            .filter(|(node, _)| names.is_empty() || names.contains(&node.name))
            .map(|(node, free)| {
                let mut object = Object::new(&node.name);
                object.text("Mom", &node.name);
                object.text("ntype", "PBS");
                object.text("state", if free.ncpus == 0 { "job-busy" } else { "free" });
                object.text("pcpus", node.ncpus);
                let jobs: Vec<String> = self
                    .running()
                    .flat_map(|(job, placement)| {
                        placement
                            .chunks
                            .iter()
                            .filter(|chunk| chunk.node == node.name)
                            .map(move |chunk| format!("{}/{}", job.id(&self.server), chunk.slot))
                    })
                    .collect();
                if !jobs.is_empty() {
                    object.text("jobs", jobs.join(", "));
                }
                let total = FreeNode::empty(node);
                let pairs = |pairs: &[(&str, String)]| -> Vec<(String, String)> {
                    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
                };
                object.resources(
                    "resources_available",
                    pairs(&[
                        ("arch", "linux".to_owned()),
                        ("host", node.name.clone()),
                        ("mem", format!("{}kb", total.mem_kb)),
                        ("ncpus", node.ncpus.to_string()),
                        ("vnode", node.name.clone()),
                    ]),
                );
                let mut assigned = Vec::new();
                if free.ncpus < node.ncpus {
                    assigned.push(("mem", format!("{}kb", total.mem_kb - free.mem_kb)));
                    assigned.push(("ncpus", (node.ncpus - free.ncpus).to_string()));
                }
                object.resources("resources_assigned", pairs(&assigned));
                object.text("resv_enable", "True");
                object.text("sharing", "default_shared");
                object.text("license", "l");
                object.text("last_state_change_time", self.nodes_used.as_second());
                object.text("last_used_time", self.nodes_used.as_second());
                object
            })
            .collect();
        (objects, refusals)
    }
}
