//! Why the server refuses a request: PBS's own error numbers and words.
//!
//! A command's exit code is the number's low byte, as with the real commands (15001 gives 153).

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) number: i32,
    pub(crate) message: String,
}

impl Refusal {
    fn new(number: i32, message: impl Into<String>) -> Self {
        Self { number, message: message.into() }
    }

    pub(crate) fn unknown_job(id: &str) -> Self {
        Self::new(15001, format!("Unknown Job Id {id}"))
    }

    pub(crate) fn job_finished_status(id: &str) -> Self {
        Self::new(15139, format!("{id} Job has finished, use -x or -H to obtain historical job information"))
    }

    pub(crate) fn job_finished_delete(id: &str) -> Self {
        Self::new(15139, format!("Job has finished {id}"))
    }

    pub(crate) fn array_job_over(id: &str) -> Self {
        Self::new(15159, format!("Request invalid for finished array subjob {id}"))
    }

    /// What cannot be done to one job of an array.
    pub(crate) fn invalid_request(id: &str) -> Self {
        Self::new(15004, format!("Invalid request {id}"))
    }

    pub(crate) fn array_too_large() -> Self {
        Self::new(15107, "Array job exceeds server or queue size limit")
    }

    pub(crate) fn too_many_of_user(queue: &str) -> Self {
        Self::new(15143, format!("would exceed queue {queue}'s per-user limit"))
    }

    pub(crate) fn not_yours(id: &str) -> Self {
        Self::new(15007, format!("Unauthorized Request  {id}"))
    }

    pub(crate) fn not_on_acl() -> Self {
        Self::new(15007, "Unauthorized Request ")
    }

    pub(crate) fn bad_value(attribute: &str) -> Self {
        Self::new(15014, format!("Illegal attribute or resource value {attribute}"))
    }

    pub(crate) fn unknown_queue() -> Self {
        Self::new(15018, "Unknown queue")
    }

    pub(crate) fn unknown_destination(name: &str) -> Self {
        Self::new(15018, format!("Unknown queue destination {name}"))
    }

    pub(crate) fn queue_disabled() -> Self {
        Self::new(15021, "Queue is not enabled")
    }

    pub(crate) fn wrong_state(id: &str) -> Self {
        Self::new(15028, format!("Request invalid for state of job {id}"))
    }

    pub(crate) fn unknown_resource(name: &str) -> Self {
        Self::new(15035, format!("Unknown resource: {name}"))
    }

    pub(crate) fn over_limit() -> Self {
        Self::new(15036, "Job violates queue and/or server resource limits")
    }

    pub(crate) fn too_many_jobs(limit: usize) -> Self {
        Self::new(
            15046,
            format!("Maximum number of jobs already in the server ({limit}): wait for some to end"),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(15011, message)
    }

    pub(crate) fn exit_code(&self) -> i32 {
        self.number & 0xff
    }
}
