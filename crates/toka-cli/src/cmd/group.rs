//! `toka group`: consumer groups.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use toka_ledger::command::{ParkedAction, Verdict};
use toka_ledger::group::{Changes, Group, ItemState, Settings, SettleOutcome};
use toka_ledger::{ConsumerName, GroupName};
use toka_proto::convert::coordination::Token;

use super::read;
use crate::cli::{self, Format};
use crate::failure::Failure;
use crate::output;
use crate::target::{Delivery, OutstandingEvent, ParkedEvent, Target};

/// How long one wait of `consume` is; there is another one behind it.
const CONSUME_WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn run(target: &Target, command: cli::Group, format: Format) -> Result<()> {
    match command {
        cli::Group::Create(flags) => create(target, flags, format).await,
        cli::Group::Update(flags) => update(target, flags, format).await,
        cli::Group::List => show(&target.groups().await?, format),
        cli::Group::Show { name } => show(&[target.group(&GroupName::new(&name)?).await?], format),
        cli::Group::Delete { name } => {
            let name = GroupName::new(&name)?;
            target.delete_group(&name).await?;
            match format {
                Format::Json => output::json(&json!({ "group": name, "deleted": true })),
                Format::Table => output::line(&format!("group {name} is deleted")),
            }
        }
        cli::Group::Pull(flags) => pull(target, flags, format).await,
        cli::Group::Consume(flags) => consume(target, flags, format).await,
        cli::Group::Ack { name, token } => {
            let verdict = Verdict::Acknowledge;
            settle(target, &name, &token, &verdict, "acknowledged", format).await
        }
        cli::Group::Extend { name, token } => {
            settle(target, &name, &token, &Verdict::Extend, "extended", format).await
        }
        cli::Group::Park {
            name,
            token,
            reason,
        } => {
            let verdict = Verdict::Park { reason };
            settle(target, &name, &token, &verdict, "parked", format).await
        }
        cli::Group::Release { name, token } => {
            settle(target, &name, &token, &Verdict::Release, "released", format).await
        }
        cli::Group::Reject {
            name,
            token,
            delay,
            reason,
        } => {
            let delay_ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
            let verdict = Verdict::Reject { delay_ms, reason };
            settle(target, &name, &token, &verdict, "rejected", format).await
        }
        cli::Group::Outstanding { name, limit } => {
            let outstanding = target.outstanding(&GroupName::new(&name)?, limit).await?;
            show_outstanding(&outstanding, format)
        }
        cli::Group::Parked { name, limit } => {
            let parked = target.parked(&GroupName::new(&name)?, limit).await?;
            show_parked(&parked, format)
        }
        cli::Group::Replay(flags) => move_parked(target, flags, ParkedAction::Replay, format).await,
        cli::Group::Discard(flags) => {
            move_parked(target, flags, ParkedAction::Discard, format).await
        }
    }
}

async fn create(target: &Target, flags: cli::CreateGroup, format: Format) -> Result<()> {
    let name = GroupName::new(&flags.name)?;
    if flags.filter.descendants_of.is_some() {
        bail!(Failure::Usage(
            "--descendants-of is not for groups, whose events have kinds, attributes and intents"
                .to_owned()
        ));
    }
    let settings = Settings {
        filter: target.filter(flags.filter).await?,
        ack_timeout_ms: flags.ack_timeout,
        unacknowledged_max: flags.unacknowledged_max,
        deliveries_max: flags.deliveries_max,
    };
    let group = target.create_group(&name, settings, flags.from).await?;
    show(&[group], format)
}

async fn update(target: &Target, flags: cli::UpdateGroup, format: Format) -> Result<()> {
    let name = GroupName::new(&flags.name)?;
    let changes = Changes {
        ack_timeout_ms: flags.ack_timeout,
        unacknowledged_max: flags.unacknowledged_max,
        deliveries_max: flags.deliveries_max,
    };
    show(&[target.update_group(&name, changes).await?], format)
}

/// The same of all, which are `what` then.
async fn settle(
    target: &Target,
    name: &str,
    tokens: &[Token],
    verdict: &Verdict,
    what: &str,
    format: Format,
) -> Result<()> {
    let name = GroupName::new(name)?;
    match target.settle(&name, tokens, verdict).await {
        Ok(outcomes) => settled(&outcomes, what, format),
        Err(error) => Err(of_another_group(target, &name, error).await),
    }
}

/// What is wrong with tokens, where it is not that there is no such group.
async fn of_another_group(
    target: &Target,
    name: &GroupName,
    error: anyhow::Error,
) -> anyhow::Error {
    let is_absent = matches!(error.downcast_ref::<Failure>(), Some(Failure::NotFound(_)));
    if is_absent && target.group(name).await.is_ok() {
        let what = format!(
            "such delivery in group {name}: the token is of another group, or of one of this name that was deleted"
        );
        return Failure::NotFound(what).into();
    }
    error
}

fn show(groups: &[Group], format: Format) -> Result<()> {
    if format == Format::Json {
        return groups
            .iter()
            .try_for_each(|group| output::json(&group_json(group)));
    }
    let mut table = output::table(&[
        "group",
        "position",
        "unacknowledged",
        "parked",
        "timeout",
        "deliveries",
        "created",
        "events",
    ]);
    for group in groups {
        let settings = &group.settings;
        let timeout = Duration::from_millis(settings.ack_timeout_ms.into());
        table.add_row([
            group.name.to_string(),
            group.position.to_string(),
            format!(
                "{} of {}",
                group.unacknowledged, settings.unacknowledged_max
            ),
            group.parked.to_string(),
            humantime::format_duration(timeout).to_string(),
            settings.deliveries_max.to_string(),
            toka_backup::rfc3339(group.created_unix_ms),
            match group.is_ending {
                true => "is being deleted".to_owned(),
                false => filter_text(settings),
            },
        ]);
    }
    output::line(&table.to_string())
}

/// Which events, in words.
fn filter_text(settings: &Settings) -> String {
    let filter = &settings.filter;
    let kinds = filter.kind_prefixes.iter().map(|kind| format!("{kind}*"));
    let pairs = filter.attributes.iter();
    let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
    let intents = filter.intents.iter();
    let intents = intents.map(|intent| format!("intent {intent}"));
    let parts: Vec<String> = kinds.chain(pairs).chain(intents).collect();
    match parts.is_empty() {
        true => "all".to_owned(),
        false => parts.join(" "),
    }
}

fn group_json(group: &Group) -> Value {
    let settings = &group.settings;
    json!({
        "group": group.name,
        "incarnation": group.incarnation,
        "position": group.position,
        "unacknowledged": group.unacknowledged,
        "parked": group.parked,
        "created_unix_ms": group.created_unix_ms,
        "version": group.version,
        "is_ending": group.is_ending,
        "ack_timeout_ms": settings.ack_timeout_ms,
        "unacknowledged_max": settings.unacknowledged_max,
        "deliveries_max": settings.deliveries_max,
        "kind_prefixes": settings.filter.kind_prefixes,
        "attributes": settings.filter.attributes,
        "intents": settings.filter.intents,
    })
}

async fn pull(target: &Target, flags: cli::Pull, format: Format) -> Result<()> {
    let (group, consumer) = (
        GroupName::new(&flags.name)?,
        ConsumerName::new(&flags.consumer)?,
    );
    let pulled = target.pull(&group, &consumer, flags.limit, flags.wait);
    for delivery in pulled.await? {
        write(&delivery, format)?;
    }
    Ok(())
}

fn write(delivery: &Delivery, format: Format) -> Result<()> {
    let token = output::hex(&delivery.token.encode());
    match format {
        Format::Json => {
            let mut value = read::json(&delivery.record);
            value["delivery"] = delivery.delivery.into();
            value["deadline_unix_ms"] = delivery.deadline_unix_ms.into();
            value["token"] = token.into();
            output::json(&value)
        }
        Format::Table => {
            let row = read::row(&delivery.record).join("  ");
            output::line(&format!(
                "{row}  delivery {} token {token}",
                delivery.delivery
            ))
        }
    }
}

/// One after the other, so that each is acknowledged once it is written and none is held meanwhile.
async fn consume(target: &Target, flags: cli::Consume, format: Format) -> Result<()> {
    let (group, consumer) = (
        GroupName::new(&flags.name)?,
        ConsumerName::new(&flags.consumer)?,
    );
    let ends = flags.until_empty || matches!(target, Target::Embedded(_));
    let wait = if ends { Duration::ZERO } else { CONSUME_WAIT };
    let mut left = flags.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let pulled = target.pull(&group, &consumer, 1, wait).await?;
        let Some(delivery) = pulled.first() else {
            if ends {
                break;
            }
            continue;
        };
        write(delivery, format)?;
        let acknowledge = Verdict::Acknowledge;
        let outcomes = target
            .settle(&group, &[delivery.token], &acknowledge)
            .await?;
        if outcomes.contains(&SettleOutcome::Stale) {
            let sequence = delivery.record.header.sequence;
            eprintln!("note: event {sequence} was not in time; it may be delivered again");
        }
        left -= 1;
    }
    Ok(())
}

/// Fails where a delivery was not current any more, and says how many were not.
fn settled(outcomes: &[SettleOutcome], what: &str, format: Format) -> Result<()> {
    let is_done = |outcome: &&SettleOutcome| **outcome == SettleOutcome::Done;
    let done = outcomes.iter().filter(is_done).count();
    let stale = outcomes.len() - done;
    match format {
        Format::Json => output::json(&json!({ what: done, "stale": stale }))?,
        Format::Table => output::line(&format!("{done} {what}"))?,
    }
    if stale > 0 {
        bail!(Failure::Refused(format!(
            "{stale} of {} not current any more: settled already, or delivered again",
            outcomes.len()
        )));
    }
    Ok(())
}

fn show_outstanding(outstanding: &[OutstandingEvent], format: Format) -> Result<()> {
    if format == Format::Json {
        return outstanding.iter().try_for_each(|outstanding| {
            let mut value = read::json(&outstanding.record);
            value["deliveries"] = outstanding.deliveries.into();
            value["forgiven"] = outstanding.forgiven.into();
            match &outstanding.state {
                ItemState::Leased {
                    consumer,
                    deadline_unix_ms,
                } => {
                    value["consumer"] = consumer.as_str().into();
                    value["deadline_unix_ms"] = (*deadline_unix_ms).into();
                }
                ItemState::Waiting {
                    not_before_unix_ms,
                    reason,
                } => {
                    value["not_before_unix_ms"] = (*not_before_unix_ms).into();
                    value["reason"] = reason.as_str().into();
                }
            }
            output::json(&value)
        });
    }
    let mut table = output::table(&[
        "sequence",
        "kind",
        "id",
        "deliveries",
        "consumer",
        "until",
        "reason",
    ]);
    for outstanding in outstanding {
        let header = &outstanding.record.header;
        let (consumer, until, reason) = match &outstanding.state {
            ItemState::Leased {
                consumer,
                deadline_unix_ms,
            } => (consumer.as_str(), *deadline_unix_ms, ""),
            ItemState::Waiting {
                not_before_unix_ms,
                reason,
            } => ("", *not_before_unix_ms, &reason[..]),
        };
        table.add_row([
            header.sequence.to_string(),
            header.kind.to_string(),
            header.id.to_string(),
            outstanding.deliveries.to_string(),
            consumer.to_owned(),
            toka_backup::rfc3339(until),
            reason.to_owned(),
        ]);
    }
    output::line(&table.to_string())
}

fn show_parked(parked: &[ParkedEvent], format: Format) -> Result<()> {
    if format == Format::Json {
        return parked.iter().try_for_each(|parked| {
            let mut value = read::json(&parked.record);
            value["deliveries"] = parked.deliveries.into();
            value["parked_unix_ms"] = parked.parked_unix_ms.into();
            value["reason"] = parked.reason.as_str().into();
            output::json(&value)
        });
    }
    let mut table = output::table(&["sequence", "kind", "id", "deliveries", "parked", "reason"]);
    for parked in parked {
        let header = &parked.record.header;
        table.add_row([
            header.sequence.to_string(),
            header.kind.to_string(),
            header.id.to_string(),
            parked.deliveries.to_string(),
            toka_backup::rfc3339(parked.parked_unix_ms),
            parked.reason.clone(),
        ]);
    }
    output::line(&table.to_string())
}

async fn move_parked(
    target: &Target,
    flags: cli::Parked,
    action: ParkedAction,
    format: Format,
) -> Result<()> {
    let name = GroupName::new(&flags.name)?;
    let mut sequences = flags.sequence;
    sequences.sort_unstable();
    sequences.dedup();
    let moved = target.move_parked(&name, sequences, action).await?;
    let what = match action {
        ParkedAction::Replay => "replayed",
        ParkedAction::Discard => "discarded",
    };
    match format {
        Format::Json => output::json(&json!({ what: moved })),
        Format::Table => output::line(&format!("{moved} {what}")),
    }
}
