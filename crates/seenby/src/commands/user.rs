//! `seenby user`: the people who sign in here with a password, and everybody who has a role, with what they may do by all of
//! their roles. Refuses to hold: passwords, how they are kept, and which groups a user is in (their token says that).

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde::Serialize;
use sighting::{
    Book, Change, Issuer, Member, MemberId, MemberKind, Organisation, Role, RolePermission, User, UserId,
    escape,
};

use super::role::{self, MemberArgs, ShownMember, by_name, shown};
use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint::{self, quote};
use crate::house::{House, random_uuid};
use crate::output::{counted, note, table};
use crate::password;

/// What to do with users and groups.
#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    /// Add somebody who signs in here; the password is made and shown once, or read from standard input
    #[command(
        after_help = "Examples:\n  seenby user add kim --role analysts\n  seenby user add kim@example.org --password-stdin < password.txt"
    )]
    Add {
        /// What they type to sign in, unique in the organisation
        name: String,
        /// A role that they get at once
        #[arg(long = "role", value_name = "NAME|ID")]
        roles: Vec<String>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give an account another password; what was signed in with the old one ends
    #[command(
        after_help = "Examples:\n  seenby user password kim\n  seenby user password kim --password-stdin < password.txt"
    )]
    Password {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Show an account and what it may do
    #[command(after_help = "Example:\n  seenby user show kim")]
    Show {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        user: String,
    },
    /// List the accounts, and the users and groups of other issuers that have roles, with what they may do
    #[command(after_help = "Example:\n  seenby user list --json")]
    List,
    /// Remove an account with its roles, or take all roles from a user or a group; asks first
    #[command(
        after_help = "Examples:\n  seenby user remove kim                the account and its roles\n  seenby user remove --user kim         its roles only\n  seenby user remove --user 7f6e5d4c-0000-4000-8000-00000000000a --issuer https://login.example.org/realms/soc"
    )]
    Remove {
        /// The account that goes, by name or id
        #[arg(value_name = "NAME|ID", group = "who", conflicts_with = "issuer")]
        account: Option<String>,
        #[command(flatten)]
        member: MemberArgs,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Where a password comes from.
#[derive(Args, Debug)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input (one line, at least 12 characters) instead of making one
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// The password, and what is to be shown of it.
    fn password(&self) -> Result<(String, Option<String>), Failure> {
        if self.password_stdin {
            return Ok((password::read()?, None));
        }
        let made = password::make();
        Ok((made.clone(), Some(made)))
    }
}

/// An account that was added or has a new password, as JSON.
#[derive(Serialize)]
struct Credentials<'a> {
    tenant: String,
    user: String,
    name: &'a str,
    /// Only what was made here: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

/// What somebody has.
#[derive(Default)]
struct Held<'a> {
    roles: Vec<&'a str>,
    permissions: BTreeSet<RolePermission>,
}

impl Held<'_> {
    fn permissions(&self) -> Vec<&'static str> {
        self.permissions.iter().map(|permission| permission.name()).collect()
    }
}

/// One user or group as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    member: ShownMember,
    roles: &'a [&'a str],
    permissions: Vec<&'static str>,
    /// Null for whoever has no account here.
    created_at: Option<String>,
    password_set_at: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: UserCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    let book = house.book().await?;
    match command {
        UserCommand::List => list(&book, &organisation, &mut context),
        UserCommand::Show { user } => {
            show(find(&book, &organisation, &user)?, &book, &organisation, &mut context)
        }
        UserCommand::Add { name, roles, password } => {
            let roles = roles.iter().map(|role| role::find(&book, &organisation, role));
            let roles: Vec<&Role> = roles.collect::<Result<_, _>>()?;
            let (password, made) = password.password()?;
            let id = add(&house, &organisation, &name, &password, &roles).await?;
            if roles.is_empty() {
                let grant = hint::run(format!("role grant ROLE --user {}", quote(&name)));
                note(&format!("They may do nothing yet; `{grant}` lets them."));
            }
            let sentence = format!("Added user '{}'.", escape(&name));
            let credentials = credentials(&organisation, id, &name, made.as_deref());
            tell(&sentence, &credentials, &mut context)
        }
        UserCommand::Password { user, password } => {
            let user = find(&book, &organisation, &user)?;
            let (password, made) = password.password()?;
            let hashed = password::hashed(&password)?;
            let change = Change::SetPassword { user: user.id, password: hashed, at: clock::now() };
            house.commit(change).await?;
            let sentence = format!("'{}' has a new password.", escape(&user.name));
            let credentials = credentials(&organisation, user.id, &user.name, made.as_deref());
            tell(&sentence, &credentials, &mut context)
        }
        UserCommand::Remove { account: Some(user), yes, .. } => {
            remove(&house, find(&book, &organisation, &user)?, &book, yes, &mut context).await
        }
        UserCommand::Remove { account: None, member, yes } => {
            let member = member.member(&book, &organisation)?;
            strip(&house, &organisation, member, yes, &mut context).await
        }
    }
}

async fn add(
    house: &House,
    organisation: &Organisation,
    name: &str,
    password: &str,
    roles: &[&Role],
) -> Result<UserId, Failure> {
    let now = clock::now();
    let user = User {
        id: UserId(random_uuid()?),
        organisation: organisation.id,
        name: name.to_owned(),
        password: password::hashed(password)?,
        password_set_at: now,
        created_at: now,
    };
    let id = user.id;
    house.commit(Change::AddUser(user)).await?;
    for role in roles {
        house.commit(Change::GrantRole(role.id, member_of(id)?)).await?;
    }
    Ok(id)
}

/// An account as the member of roles that it is.
fn member_of(id: UserId) -> Result<Member, Failure> {
    Ok(Member { issuer: Issuer::BuiltIn, kind: MemberKind::User, id: MemberId::new(&id.to_string())? })
}

fn find<'a>(book: &'a Book, organisation: &Organisation, named: &str) -> Result<&'a User, Failure> {
    book.user(organisation.id, named).ok_or_else(|| {
        Failure::usage(format!(
            "'{}' has no account '{}'; `{}` shows all",
            escape(&organisation.name),
            escape(named),
            hint::run("user list")
        ))
    })
}

/// Removes an account, and its roles with it.
async fn remove(house: &House, user: &User, book: &Book, yes: bool, context: &mut Context) -> Outcome {
    let (name, member) = (escape(&user.name), member_of(user.id)?);
    let roles = book.roles.values().filter(|role| role.members.contains(&member)).count();
    let roles = counted(roles as u64, "role");
    confirm(
        yes,
        &format!("This removes the account '{name}' ({}) and takes its {roles}. Remove it?", user.id),
    )?;
    house.commit(Change::RemoveUser(user.id)).await?;
    if context.global.json {
        context.output.json(&ShownMember::of(&member, book))?;
    } else {
        context.output.line(format!("Removed the account '{name}' ({}).", user.id))?;
    }
    Ok(Exit::Done)
}

/// Takes all roles from somebody; an account stays.
async fn strip(
    house: &House,
    organisation: &Organisation,
    member: Member,
    yes: bool,
    context: &mut Context,
) -> Outcome {
    let book = house.book().await?;
    let held = held(&book, organisation);
    let who = shown(&member, &book);
    let roles = held.get(&member).map(|held| held.roles.len()).ok_or_else(|| {
        Failure::usage(format!("{who} has no role; `{}` shows who has", hint::run("user list")))
    })?;
    confirm(yes, &format!("{who} has {}. Take them away?", counted(roles as u64, "role")))?;
    house.commit(Change::RemoveMember(organisation.id, member.clone())).await?;
    if context.global.json {
        context.output.json(&ShownMember::of(&member, &book))?;
    } else {
        context.output.line(format!("{who} has no role any more."))?;
    }
    Ok(Exit::Done)
}

/// Everybody who has a role.
fn held<'a>(book: &'a Book, organisation: &Organisation) -> BTreeMap<Member, Held<'a>> {
    let mut all: BTreeMap<Member, Held<'_>> = BTreeMap::new();
    for role in by_name(book, organisation) {
        for member in &role.members {
            let held = all.entry(member.clone()).or_default();
            held.roles.push(&role.name);
            held.permissions.extend(&role.permissions);
        }
    }
    all
}

/// Somebody who has an account or a role.
struct Somebody<'a> {
    member: Member,
    held: Held<'a>,
    account: Option<&'a User>,
}

impl Somebody<'_> {
    fn json<'a>(&'a self, book: &Book) -> Shown<'a> {
        Shown {
            member: ShownMember::of(&self.member, book),
            roles: &self.held.roles,
            permissions: self.held.permissions(),
            created_at: self.account.map(|user| user.created_at.to_string()),
            password_set_at: self.account.map(|user| user.password_set_at.to_string()),
        }
    }
}

/// Accounts in the order of their names, then everybody else who has a role.
fn everybody<'a>(book: &'a Book, organisation: &Organisation) -> Result<Vec<Somebody<'a>>, Failure> {
    let mut held = held(book, organisation);
    let mut accounts: Vec<&User> =
        book.users.values().filter(|user| user.organisation == organisation.id).collect();
    accounts.sort_by_key(|user| user.name.to_lowercase());
    let mut all = Vec::new();
    for user in accounts {
        let member = member_of(user.id)?;
        let held = held.remove(&member).unwrap_or_default();
        all.push(Somebody { member, held, account: Some(user) });
    }
    all.extend(held.into_iter().map(|(member, held)| Somebody { member, held, account: None }));
    Ok(all)
}

fn list(book: &Book, organisation: &Organisation, context: &mut Context) -> Outcome {
    let all = everybody(book, organisation)?;
    if context.global.json {
        let shown = all.iter().map(|somebody| somebody.json(book));
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "kind", "issuer", "roles", "permissions", "id"]);
    for Somebody { member, held, account } in &all {
        rows.add_row([
            account.map_or("-".to_owned(), |user| escape(&user.name).into_owned()),
            member.kind.name().to_owned(),
            escape(&member.issuer.to_string()).into_owned(),
            escape(&held.roles.join(", ")).into_owned(),
            held.permissions().join(" "),
            escape(member.id.as_str()).into_owned(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}

fn show(user: &User, book: &Book, organisation: &Organisation, context: &mut Context) -> Outcome {
    let member = member_of(user.id)?;
    let held = held(book, organisation).remove(&member).unwrap_or_default();
    let somebody = Somebody { member, held, account: Some(user) };
    if context.global.json {
        context.output.json(&somebody.json(book))?;
        return Ok(Exit::Done);
    }
    let held = &somebody.held;
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    context.output.line(escape(&user.name))?;
    for (name, value) in [
        ("tenant", user.organisation.to_string()),
        ("id", user.id.to_string()),
        ("roles", or_none(escape(&held.roles.join(", ")).into_owned())),
        ("permissions", or_none(held.permissions().join(" "))),
        ("password", format!("set {}", user.password_set_at)),
        ("made", user.created_at.to_string()),
    ] {
        context.output.line(format!("  {name:<13}{value}"))?;
    }
    Ok(Exit::Done)
}

fn credentials<'a>(
    organisation: &Organisation,
    id: UserId,
    name: &'a str,
    password: Option<&'a str>,
) -> Credentials<'a> {
    Credentials { tenant: organisation.id.to_string(), user: id.to_string(), name, password }
}

fn tell(sentence: &str, credentials: &Credentials<'_>, context: &mut Context) -> Outcome {
    let told = try_tell(sentence, credentials, context);
    // One that was read is known to whoever wrote it.
    let is_lost = |failure| match credentials.password {
        Some(_) => lost(credentials.name, &failure),
        None => failure,
    };
    told.map_err(is_lost)
}

fn try_tell(sentence: &str, credentials: &Credentials<'_>, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(credentials)?;
        return Ok(Exit::Done);
    }
    context.output.line(sentence)?;
    context.output.line(format!("  tenant    {}", credentials.tenant))?;
    context.output.line(format!("  id        {}", credentials.user))?;
    if let Some(password) = credentials.password {
        context.output.line(format!("  password  {password}"))?;
        context.output.line("The password is shown this once; only its hash is kept.")?;
    }
    Ok(Exit::Done)
}

/// A password that nobody saw. It is in force all the same, so this is no success, whoever stopped reading.
fn lost(name: &str, failure: &Failure) -> Failure {
    Failure::unavailable(format!(
        "the new password of '{}' could not be printed ({:#}) and is lost; make another with `{}`",
        escape(name),
        failure.cause,
        hint::run(format!("user password {}", quote(name)))
    ))
}
