//! What the store's tests share: a disk that can lose power, small worlds of sightings, and the comparison with the
//! model. Refuses to hold: tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part of this")]

pub mod sim;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sighting::model::ModelStore;
use sighting::{
    Address, Answer, Batch, Day, FirstSeen, Identity, IdentityKind, Label, OrganisationId, Question,
    Questions, Second, SourceName, Store, Uuid, Window,
};

/// The result of a future that is ready at once, as those of both stores are.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this store never waits"),
    }
}

pub fn organisation(number: u8) -> OrganisationId {
    OrganisationId(Uuid::from_u128(u128::from(number) + 1))
}

/// Nine identities: three agents, two full names and a short one, two addresses and a MAC.
pub fn identity(number: u8) -> Identity {
    let (kind, name) = match number % 9 {
        0 => (IdentityKind::AgentId, "aa"),
        1 => (IdentityKind::AgentId, "bb"),
        2 => (IdentityKind::AgentId, "cc"),
        3 => (IdentityKind::Fqdn, "one.example.org"),
        4 => (IdentityKind::Fqdn, "two.example.org"),
        5 => (IdentityKind::HostName, "one"),
        6 => (IdentityKind::Address, "10.0.0.5"),
        7 => (IdentityKind::Address, "10.0.0.6"),
        _ => (IdentityKind::Mac, "00:0d:3a:13:e3:69"),
    };
    Identity::new(kind, name).expect("a name")
}

/// Addresses of both families, close to each other and far apart.
pub fn address(number: u8) -> Address {
    let text = match number % 6 {
        0 => "198.51.100.1",
        1 => "198.51.100.2",
        2 => "203.0.113.255",
        3 => "2001:db8::1",
        4 => "2001:db8:ffff::2",
        _ => "10.0.0.1",
    };
    Address::parse(text).expect("an address")
}

/// Days 100 to 103, at seconds that lie at, next to and far from the ends of a day.
pub fn second(day: u8, place: u8) -> Second {
    let of_day = match place % 6 {
        0 => 0,
        1 => 1,
        2 => 40_000,
        3 => 40_001,
        4 => 86_398,
        _ => 86_399,
    };
    Day::new(100 + u32::from(day % 4)).expect("in range").at(of_day)
}

pub fn source(number: u8) -> SourceName {
    SourceName::new(if number.is_multiple_of(2) { "mde" } else { "zeek" }).expect("a name")
}

/// One line of a small world: who, where, when, and which name was carried.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub who: u8,
    pub whither: u8,
    pub day: u8,
    pub place: u8,
    pub carried: Option<u8>,
}

pub fn batch(whose: u8, source_number: u8, lines: &[Line]) -> Batch {
    let mut batch = Batch::new(organisation(whose), source(source_number));
    for line in lines {
        let who = batch.identity(identity(line.who));
        let second = second(line.day, line.place);
        batch.sighted(address(line.whither), who, second);
        batch.reported(who, second);
        if let Some(name) = line.carried.filter(|_| line.who % 9 < 3) {
            let name = batch.identity(identity(3 + name % 3));
            batch.carried(name, who, second);
        }
    }
    batch
}

/// What a feed of the registry says in a small world; moments are a day and a place in it.
#[derive(Clone, Copy, Debug)]
pub enum Fact {
    Leased {
        what: u8,
        who: u8,
        since: (u8, u8),
        until: Option<(u8, u8)>,
    },
    /// By an agent a name or an address, by a name an address.
    Carried {
        what: u8,
        who: u8,
        at: (u8, u8),
    },
    Merged {
        from: u8,
        into: u8,
        at: (u8, u8),
    },
    Grouped {
        who: u8,
        group: u8,
        at: (u8, u8),
    },
}

pub fn registry_batch(whose: u8, source_number: u8, facts: &[Fact]) -> Batch {
    let mut batch = Batch::new(organisation(whose), source(source_number));
    let moment = |(day, place): (u8, u8)| second(day, place);
    for fact in facts {
        match *fact {
            Fact::Leased { what, who, since, until } => {
                let (what, who) = (batch.identity(identity(what)), batch.identity(identity(who)));
                batch.leased(what, who, moment(since), until.map(moment));
            }
            Fact::Carried { what, who, at } => {
                // Whoever is known by a name only carries an address, never a name.
                let what = if who % 6 < 3 { 3 + what % 5 } else { 6 + what % 2 };
                let (what, who) = (batch.identity(identity(what)), batch.identity(identity(who % 6)));
                batch.carried(what, who, moment(at));
            }
            Fact::Merged { from, into, at } => {
                let (from, into) = (batch.identity(identity(from)), batch.identity(identity(into)));
                batch.merged(from, into, moment(at));
            }
            Fact::Grouped { who, group, at } => {
                let who = batch.identity(identity(who % 3));
                let group =
                    Label::new(if group.is_multiple_of(2) { "Servers" } else { "Desks" }).expect("a label");
                batch.grouped(who, group, moment(at));
            }
        }
    }
    batch
}

/// Every question of a small world whose window begins and ends at one of its seconds.
pub fn questions(whose: u8, kept_since: Second) -> Vec<Question> {
    let moments: Vec<Second> = (0..4).flat_map(|day| (0..6).map(move |place| second(day, place))).collect();
    let mut questions = Vec::new();
    for (index, until) in moments.iter().enumerate() {
        for since in moments.iter().take(index + 1).step_by(3) {
            let Some(window) = Window::new(*since, *until) else { continue };
            for whither in 0..6 {
                let first_seen = if whither % 2 == 0 { FirstSeen::InWindow } else { FirstSeen::InKept };
                questions.push(Question {
                    organisation: organisation(whose),
                    address: address(whither),
                    window,
                    kept_since,
                    first_seen,
                });
            }
        }
    }
    questions
}

/// The first question to which the two stores answer differently, with both answers.
pub fn difference(
    store: &impl Store,
    model: &ModelStore,
    kept_since: Second,
) -> Option<(Question, Answer, Answer)> {
    let mut questions = (0..2).flat_map(|whose| questions(whose, kept_since)).enumerate();
    questions.find_map(|(number, question)| {
        let got = now(store.stats(question)).expect("the store answers");
        let expected = now(model.stats(question)).expect("the model answers");
        let got = if got == expected && number % 7 == 0 { in_company(store, question) } else { got };
        (got != expected).then_some((question, got, expected))
    })
}

/// The answer to a question among others, in no order and more than once.
fn in_company(store: &impl Store, question: Question) -> Answer {
    let Question { organisation, address: asked, window, kept_since, first_seen } = question;
    let addresses = vec![address(4), asked, address(1), asked, address(9)];
    let questions = Questions { organisation, addresses, window, kept_since, first_seen };
    let answers = now(store.stats_of(questions)).expect("the store answers");
    assert_eq!((answers.len(), answers[1]), (5, answers[3]));
    answers[1]
}
