//! What PBS prints, and damaged answers: the check of the fuzz target, over its seeds and damaged ones.

#[path = "../../../../kernel/fuzz/checks/pbs.rs"]
mod pbs;

#[test]
fn any_answer_of_pbs_is_read_or_refused() {
    nuna_testing::check_damaged("pbs", 300, pbs::check);
}
