//! `seenby user`: everybody who has a role, users and groups, and what they may do by all of their roles. Refuses to hold:
//! names of people, passwords, and which groups a user is in (their token says that).

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;
use serde::Serialize;
use sighting::{Book, Change, Member, Organisation, RolePermission, escape};

use super::role::{MemberArgs, ShownMember, by_name, shown};
use super::{Context, confirm};
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::output::{counted, table};

/// What to do with users and groups.
#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    /// List the users and groups that have roles, and what they may do
    #[command(after_help = "Example:\n  seenby user list --json")]
    List,
    /// Take all roles from a user or a group; asks first
    #[command(after_help = "Example:\n  seenby user remove --user 7f6e5d4c-0000-4000-8000-00000000000a")]
    Remove {
        #[command(flatten)]
        member: MemberArgs,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What somebody has.
#[derive(Default)]
struct Held<'a> {
    roles: Vec<&'a str>,
    permissions: BTreeSet<RolePermission>,
}

/// One user or group as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    member: ShownMember,
    roles: &'a [&'a str],
    permissions: Vec<&'static str>,
}

/// Runs the command.
pub(crate) async fn run(command: UserCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    let book = house.book().await?;
    let held = held(&book, &organisation);
    match command {
        UserCommand::List => list(&held, &mut context),
        UserCommand::Remove { member, yes } => {
            let member = member.member()?;
            let roles = held.get(&member).map(|held| held.roles.len()).ok_or_else(|| {
                Failure::usage(format!(
                    "{} has no role; `{}` shows who has",
                    shown(&member),
                    hint::run("user list")
                ))
            })?;
            let (who, roles) = (shown(&member), counted(roles as u64, "role"));
            confirm(yes, &format!("{who} has {roles}. Take them away?"))?;
            house.commit(Change::RemoveMember(organisation.id, member.clone())).await?;
            if context.global.json {
                context.output.json(&ShownMember::of(&member))?;
            } else {
                context.output.line(format!("{who} has no role any more."))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn held<'a>(book: &'a Book, organisation: &Organisation) -> BTreeMap<&'a Member, Held<'a>> {
    let mut all: BTreeMap<&Member, Held<'_>> = BTreeMap::new();
    for role in by_name(book, organisation) {
        for member in &role.members {
            let held = all.entry(member).or_default();
            held.roles.push(&role.name);
            held.permissions.extend(&role.permissions);
        }
    }
    all
}

fn list(held: &BTreeMap<&Member, Held<'_>>, context: &mut Context) -> Outcome {
    let names = |held: &Held<'_>| held.permissions.iter().map(|it| it.name()).collect::<Vec<_>>();
    if context.global.json {
        let shown = held.iter().map(|(member, held)| Shown {
            member: ShownMember::of(member),
            roles: &held.roles,
            permissions: names(held),
        });
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["kind", "id", "issuer", "roles", "permissions"]);
    for (member, held) in held {
        rows.add_row([
            member.kind.name().to_owned(),
            escape(member.id.as_str()).into_owned(),
            escape(&member.issuer.to_string()).into_owned(),
            escape(&held.roles.join(", ")).into_owned(),
            names(held).join(" "),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}
