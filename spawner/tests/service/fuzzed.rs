//! Configurations, bodies and choices as anybody may write them: the check of the fuzz target, over its seeds and damaged ones.

#[path = "../../../kernel/fuzz/checks/spawner.rs"]
mod spawner;

#[test]
fn any_configuration_body_and_choice_is_read_or_refused() {
    nuna_testing::check_damaged("spawner", 300, spawner::check);
}
