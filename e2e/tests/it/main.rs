//! The product on a real Kubernetes: installed with helm, used with kubectl, and hit where it hurts.
//!
//! One cluster serves all scenarios, one after the other, in the order of this file. It is brought up when
//! the first one runs and removed after the last. `FLOTILLA_E2E_KEEP=1` leaves it, and takes it up again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the whole crate is tests: a broken expectation ends them"
)]

mod identity;
mod input;
mod install;
mod kinds;
mod leadership;
mod misbehavior;
mod routing;
mod scaling;
mod stage;
mod upgrade;

use std::process::ExitCode;

use anyhow::Result;
use e2e::product::Product;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::stage::Stage;

type Scenario = fn(&Product) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("install::helm_install_brings_up_operators_and_a_synced_fleet", install::whole),
    ("install::columns_are_those_of_the_design", install::columns),
    ("install::operator_has_no_rights_that_it_must_not_have", install::rights),
    ("install::kustomizations_are_valid", install::kustomizations),
    ("routing::applied_ingress_is_served_by_all_proxies", routing::applied),
    ("routing::ingress_status_names_the_address", routing::status),
    ("routing::ingress_serves_tls_with_its_secret", routing::tls),
    ("routing::broken_reference_does_not_stop_its_neighbors", routing::broken),
    ("input::bad_objects_are_named_and_stop_nothing", input::bad_objects),
    ("input::port_name_that_does_not_exist_is_reported", input::port_name),
    ("input::service_without_endpoints_answers_503", input::no_endpoints),
    ("input::unknown_fields_and_oversized_objects_are_refused_by_the_api", input::refused_by_api),
    ("input::fleet_that_names_a_missing_service_says_so", input::missing_service),
    ("input::full_state_folder_stops_nothing", input::full_disk),
    ("kinds::definitions_of_somebody_else_stay_as_they_are", kinds::foreign_definitions),
    ("kinds::kongs_kinds_are_served_and_their_statuses_told", kinds::served),
    ("kinds::wrong_objects_are_denied_with_the_remedy", kinds::denied),
    ("kinds::streams_and_entities_of_custom_types_are_served", kinds::others),
    ("kinds::gateway_with_a_route_is_served_at_its_own_address", kinds::gateway),
    ("kinds::definitions_come_and_go_while_the_operator_runs", kinds::come_and_go),
    ("scaling::fleet_follows_from_three_to_five_and_back_to_two", scaling::up_and_down),
    ("scaling::killed_proxy_is_replaced_and_filled", scaling::killed_pod),
    ("scaling::restarted_container_serves_again", scaling::killed_container),
    ("misbehavior::refusing_proxy_is_rejected_alone", misbehavior::refuses),
    ("misbehavior::html_and_silence_are_unreachable_alone", misbehavior::html_and_silence),
    ("misbehavior::foreign_configuration_is_drift_and_is_repaired", misbehavior::drift),
    ("identity::shared_certificate_of_another_pod_gets_zero_bytes", identity::stolen_certificate),
    ("leadership::stand_by_takes_over_in_the_middle_of_a_push", leadership::killed_leader),
    ("leadership::stopped_leader_never_pushes_again", leadership::stopped_leader),
    ("upgrade::helm_upgrade_under_load_fails_no_request", upgrade::under_load),
    ("upgrade::helm_uninstall_leaves_nothing_but_definitions", upgrade::uninstall),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials =
        SCENARIOS.iter().map(|(name, scenario)| Trial::test(*name, || play(scenario))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = Stage::strike() {
        e2e::say(&format!("failed to remove the cluster: {error:#}"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn play(scenario: &Scenario) -> Result<(), Failed> {
    let product = Stage::product().map_err(|error| Failed::from(format!("{error:#}")))?;
    scenario(product).map_err(|error| Failed::from(format!("{error:#}")))
}
