//! What Slurm prints, and damaged answers: the check of the fuzz target, over its seeds and damaged ones.

#[path = "../../../../kernel/fuzz/checks/slurm.rs"]
mod slurm;

#[test]
fn any_answer_of_slurm_is_read_or_refused() {
    nuna_testing::check_damaged("slurm", 300, slurm::check);
}
