//! `seenby role`: what people may do, and who has which role. Refuses to hold: how somebody proves who they are (the HTTP
//! room), and accounts of people (`user`).

use std::collections::BTreeSet;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use sighting::{
    Book, Change, ChangeError, Issuer, Member, MemberId, MemberKind, Organisation, Role, RoleId,
    RolePermission, User, UserId, Uuid, escape,
};

use super::{Context, confirm};
use crate::clock;
use crate::exit::{Exit, Failure, Outcome};
use crate::hint;
use crate::house::{House, random_uuid};
use crate::output::{counted, table};

/// What to do with roles.
#[derive(Subcommand, Debug)]
pub(crate) enum RoleCommand {
    /// Add a role
    #[command(after_help = "Example:\n  seenby role add analysts --permission view-data")]
    Add {
        /// Its name, unique in its organisation
        name: String,
        /// What its members may do; without one they may do nothing
        #[arg(long = "permission", value_name = "PERMISSION", value_parser = permissions())]
        permissions: Vec<String>,
    },
    /// List the roles
    #[command(after_help = "Example:\n  seenby role list --json")]
    List,
    /// Show a role and who has it
    #[command(after_help = "Example:\n  seenby role show analysts")]
    Show {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        role: String,
    },
    /// Give a role another name or other permissions; they hold from the next request on
    #[command(
        after_help = "Example:\n  seenby role change analysts --permission view-data --permission manage-sources"
    )]
    Change {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        role: String,
        /// Its new name
        #[arg(long, value_name = "NAME", required_unless_present_any = ["permissions", "no_permissions"])]
        new_name: Option<String>,
        /// All that its members may do from now on
        #[arg(long = "permission", value_name = "PERMISSION", value_parser = permissions())]
        permissions: Vec<String>,
        /// Its members may do nothing from now on
        #[arg(long, conflicts_with = "permissions")]
        no_permissions: bool,
    },
    /// Give somebody a role
    #[command(
        after_help = "Examples:\n  seenby role grant analysts --user kim\n  seenby role grant analysts --group 0a0b0c0d-0000-4000-8000-000000000001 --issuer https://login.microsoftonline.com/TENANT/v2.0"
    )]
    Grant {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        role: String,
        #[command(flatten)]
        member: MemberArgs,
    },
    /// Take a role from somebody
    #[command(after_help = "Example:\n  seenby role revoke analysts --user kim")]
    Revoke {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        role: String,
        #[command(flatten)]
        member: MemberArgs,
    },
    /// Remove a role; who had it has it no longer; asks first
    #[command(after_help = "Example:\n  seenby role remove analysts")]
    Remove {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        role: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Who is meant: by ids, because names and e-mail addresses change hands. Only people who sign in here may be named by
/// their names, which stand for the ids of their accounts.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = ArgGroup::new("who").required(true))]
pub(crate) struct MemberArgs {
    /// A user: the name or id of an account here; of another issuer the oid of their tokens, or the sub where there is no oid
    #[arg(long, value_name = "NAME|ID", group = "who")]
    user: Option<String>,
    /// A group: its id as tokens have it in groups
    #[arg(long, value_name = "ID", value_parser = parse_id, group = "who")]
    group: Option<MemberId>,
    /// Whose ids these are: built-in (this server), or the iss of another issuer's tokens
    #[arg(long, value_name = "built-in|URL", value_parser = parse_issuer, default_value = "built-in")]
    issuer: Issuer,
}

impl MemberArgs {
    /// The member that was typed. What is no account here can still have roles: of before it was removed.
    pub(crate) fn member(self, book: &Book, organisation: &Organisation) -> Result<Member, Failure> {
        let (kind, id) = match (self.user, self.group) {
            (Some(typed), _) => {
                let user = book.user(organisation.id, &typed).filter(|_| self.issuer == Issuer::BuiltIn);
                let id = user.map_or(typed, |user| user.id.to_string());
                (MemberKind::User, MemberId::new(&id).map_err(|error| no_id(&error))?)
            }
            (None, Some(id)) => (MemberKind::Group, id),
            (None, None) => return Err(Failure::usage("say who: --user NAME or --group ID")),
        };
        Ok(Member { issuer: self.issuer, kind, id })
    }

    /// The member that was typed, to be given a role: a user of this server must have an account.
    pub(crate) fn grantee(self, book: &Book, organisation: &Organisation) -> Result<Member, Failure> {
        if let (Some(typed), Issuer::BuiltIn) = (&self.user, &self.issuer)
            && book.user(organisation.id, typed).is_none()
        {
            return Err(Failure::usage(format!(
                "'{}' has no account '{}'; `{}` makes one, and --issuer URL names somebody of another issuer",
                escape(&organisation.name),
                escape(typed),
                hint::run("user add NAME")
            )));
        }
        self.member(book, organisation)
    }
}

fn no_id(error: &ChangeError) -> Failure {
    Failure::usage(escape(&error.to_string()))
}

fn parse_id(text: &str) -> Result<MemberId, String> {
    MemberId::new(text).map_err(|error| escape(&error.to_string()).into_owned())
}

fn parse_issuer(text: &str) -> Result<Issuer, String> {
    Issuer::new(text).map_err(|error| escape(&error.to_string()).into_owned())
}

fn permissions() -> PossibleValuesParser {
    PossibleValuesParser::new(RolePermission::ALL.map(RolePermission::name))
}

fn parsed(names: &[String]) -> BTreeSet<RolePermission> {
    names.iter().filter_map(|name| RolePermission::from_name(name)).collect()
}

/// One role as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    organisation: String,
    role: String,
    name: &'a str,
    permissions: Vec<&'static str>,
    members: Vec<ShownMember>,
    created_at: String,
}

/// One user or group as JSON.
#[derive(Serialize)]
pub(crate) struct ShownMember {
    kind: &'static str,
    id: String,
    issuer: String,
    /// Null for whoever has no account here.
    name: Option<String>,
}

impl ShownMember {
    pub(crate) fn of(member: &Member, book: &Book) -> ShownMember {
        ShownMember {
            kind: member.kind.name(),
            id: member.id.to_string(),
            issuer: member.issuer.to_string(),
            name: account(member, book).map(|user| user.name.clone()),
        }
    }
}

/// The account that a member is, if it is one.
pub(crate) fn account<'a>(member: &Member, book: &'a Book) -> Option<&'a User> {
    let is_here = member.issuer == Issuer::BuiltIn && member.kind == MemberKind::User;
    let id = Uuid::try_parse(member.id.as_str()).ok().filter(|_| is_here)?;
    book.users.get(&UserId(id))
}

/// Runs the command.
pub(crate) async fn run(command: RoleCommand, mut context: Context) -> Outcome {
    let house = context.house().await?;
    let organisation = house.organisation(context.organisation_name()).await?;
    let book = house.book().await?;
    let (id, sentence) = match command {
        RoleCommand::List => return list(&book, &organisation, &mut context),
        RoleCommand::Show { role } => {
            return show(find(&book, &organisation, &role)?, &book, &mut context);
        }
        RoleCommand::Add { name, permissions } => {
            let id = add(&house, &organisation, &name, parsed(&permissions)).await?;
            if permissions.is_empty() {
                crate::output::note("Its members may do nothing yet; --permission view-data lets them ask.");
            }
            (id, format!("Added role '{}'.", escape(&name)))
        }
        RoleCommand::Change { role, new_name, permissions, no_permissions } => {
            let role = find(&book, &organisation, &role)?;
            let permissions = (no_permissions || !permissions.is_empty()).then(|| parsed(&permissions));
            house.commit(Change::ChangeRole { role: role.id, name: new_name, permissions }).await?;
            let book = house.book().await?;
            let role = find(&book, &organisation, &role.id.to_string())?;
            (role.id, format!("Members of '{}' may do: {}.", escape(&role.name), may(role)))
        }
        RoleCommand::Grant { role, member } => {
            let member = member.grantee(&book, &organisation)?;
            let role = find(&book, &organisation, &role)?;
            let sentence = format!("{} has the role '{}'.", shown(&member, &book), escape(&role.name));
            house.commit(Change::GrantRole(role.id, member)).await?;
            (role.id, sentence)
        }
        RoleCommand::Revoke { role, member } => {
            let member = member.member(&book, &organisation)?;
            let role = find(&book, &organisation, &role)?;
            let sentence = format!(
                "{} does not have the role '{}' any more.",
                shown(&member, &book),
                escape(&role.name)
            );
            house.commit(Change::RevokeRole(role.id, member)).await?;
            (role.id, sentence)
        }
        RoleCommand::Remove { role, yes } => {
            let role = find(&book, &organisation, &role)?;
            let (name, members) = (escape(&role.name), counted(role.members.len() as u64, "member"));
            confirm(yes, &format!("This removes the role '{name}', which has {members}. Remove it?"))?;
            house.commit(Change::RemoveRole(role.id)).await?;
            (role.id, format!("Removed role '{name}'."))
        }
    };
    if context.global.json {
        context.output.json(&serde_json::json!({ "role": id.to_string() }))?;
    } else {
        context.output.line(sentence)?;
    }
    Ok(Exit::Done)
}

async fn add(
    house: &House,
    organisation: &Organisation,
    name: &str,
    permissions: BTreeSet<RolePermission>,
) -> Result<RoleId, Failure> {
    let role = Role {
        id: RoleId(random_uuid()?),
        organisation: organisation.id,
        name: name.to_owned(),
        permissions,
        members: BTreeSet::new(),
        created_at: clock::now(),
    };
    let id = role.id;
    house.commit(Change::AddRole(role)).await?;
    Ok(id)
}

/// The role of a name or an id.
pub(crate) fn find<'a>(
    book: &'a Book,
    organisation: &Organisation,
    named: &str,
) -> Result<&'a Role, Failure> {
    book.role(organisation.id, named).ok_or_else(|| {
        Failure::usage(format!(
            "'{}' has no role '{}'; `{}` shows all",
            escape(&organisation.name),
            escape(named),
            hint::run("role list")
        ))
    })
}

/// The roles of an organisation in the order of their names, as people look for them.
pub(crate) fn by_name<'a>(book: &'a Book, organisation: &Organisation) -> Vec<&'a Role> {
    let id = organisation.id;
    let mut roles: Vec<&Role> = book.roles.values().filter(|role| role.organisation == id).collect();
    roles.sort_by_key(|role| role.name.to_lowercase());
    roles
}

/// A member for a person.
pub(crate) fn shown(member: &Member, book: &Book) -> String {
    if let Some(user) = account(member, book) {
        return format!("User '{}'", escape(&user.name));
    }
    let text = member.to_string();
    let (first, rest) = text.split_at(1);
    escape(&format!("{}{rest}", first.to_uppercase())).into_owned()
}

fn may(role: &Role) -> String {
    let names: Vec<&str> = role.permissions.iter().map(|permission| permission.name()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn list(book: &Book, organisation: &Organisation, context: &mut Context) -> Outcome {
    let roles = by_name(book, organisation);
    if context.global.json {
        let shown = roles.into_iter().map(|role| json(role, book));
        context.output.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut rows = table(&["name", "permissions", "users", "groups", "id"]);
    for role in roles {
        let count = |kind| role.members.iter().filter(|member| member.kind == kind).count().to_string();
        rows.add_row([
            escape(&role.name).into_owned(),
            may(role),
            count(MemberKind::User),
            count(MemberKind::Group),
            role.id.to_string(),
        ]);
    }
    context.output.table(&rows)?;
    Ok(Exit::Done)
}

fn show(role: &Role, book: &Book, context: &mut Context) -> Outcome {
    if context.global.json {
        context.output.json(&json(role, book))?;
        return Ok(Exit::Done);
    }
    context.output.line(escape(&role.name))?;
    context.output.line(format!("  id           {}", role.id))?;
    context.output.line(format!("  made         {}", role.created_at))?;
    context.output.line(format!("  permissions  {}", may(role)))?;
    for member in &role.members {
        let (kind, id) = (member.kind.name(), escape(member.id.as_str()));
        let who = match account(member, book) {
            Some(user) => format!("{} ({id})", escape(&user.name)),
            None => format!("{id} of {}", escape(&member.issuer.to_string())),
        };
        context.output.line(format!("  {kind:<13}{who}"))?;
    }
    Ok(Exit::Done)
}

fn json<'a>(role: &'a Role, book: &Book) -> Shown<'a> {
    Shown {
        organisation: role.organisation.to_string(),
        role: role.id.to_string(),
        name: &role.name,
        permissions: role.permissions.iter().map(|permission| permission.name()).collect(),
        members: role.members.iter().map(|member| ShownMember::of(member, book)).collect(),
        created_at: role.created_at.to_string(),
    }
}
