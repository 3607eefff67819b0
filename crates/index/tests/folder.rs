//! The data folder on a real disk: one holder at a time, foreign folders refused, modes, and the directory with its
//! audit log and granted calls over a restart and over power cuts (tickets have a file of their own).

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::sim::{Dice, Sim};
use common::{Line, batch, now, organisation};
use seenby_index::{DataFolder, FolderDirectory, OpenError, Options};
use sighting::{
    Actor, Application, ApplicationId, Book, CallLimit, CallLimits, Certificate, Change, Directory, Extent,
    GrantPage, Granted, Issuer, Member, MemberId, MemberKind, Network, Organisation, OrganisationId,
    PasswordHash, Permission, PrivateKey, ReadAs, RedirectUri, Retention, Role, RoleId, RolePermission,
    Second, Secret, SignIn, SigningKey, Source, SourceBounds, SourceId, SourceName, Store, Ticket, TicketKey,
    TicketKind, User, UserId, Uuid,
};

fn secret(byte: u8) -> Secret {
    Secret { sha256: [byte; 32], created_at: Second::new(5), expires_at: None }
}

fn changes() -> Vec<Change> {
    let organisation = |number: u8, name: &str| Organisation {
        id: organisation(number),
        name: name.to_owned(),
        retention: if number == 0 { Retention::Forever } else { Retention::Hours(48) },
        source_tenants: vec![Uuid::from_u128(99)],
    };
    let application = ApplicationId(Uuid::from_u128(7));
    let role = RoleId(Uuid::from_u128(8));
    let issuer = Issuer::new("https://login.example.org").expect("a URL");
    let member = Member { issuer, kind: MemberKind::User, id: MemberId::new("kim").expect("an id") };
    let mut changes = vec![
        Change::AddOrganisation(organisation(0, "default")),
        Change::AddOrganisation(organisation(1, "other")),
        Change::AddSigningKey(SigningKey {
            kid: "k1".to_owned(),
            private: PrivateKey::Plain(vec![0, 1, 255]),
            created_at: Second::new(1),
        }),
        Change::AddApplication(Application {
            id: application,
            organisation: organisation(0, "").id,
            name: "soar".to_owned(),
            permissions: vec![Permission::IpReadAll],
            sign_in: SignIn::default(),
            secrets: vec![secret(1)],
            certificates: Vec::new(),
            limits: CallLimits::default(),
            created_at: Second::new(4),
        }),
        Change::RotateSecret { application, secret: secret(2), others_until: Second::new(50) },
        Change::SetLimits {
            application,
            per_minute: Some(CallLimit::Off),
            per_hour: Some(CallLimit::Calls(7.try_into().expect("not zero"))),
        },
        Change::AddRole(Role {
            id: role,
            organisation: organisation(1, "").id,
            name: "analysts".to_owned(),
            permissions: [RolePermission::ViewData].into(),
            members: [].into(),
            created_at: Second::new(6),
        }),
        Change::AddSource(source(2, organisation(0, "").id)),
        Change::AddSource(source(3, organisation(1, "").id)),
        Change::RotateToken {
            source: source(2, organisation(0, "").id).id,
            token: secret(3),
            others_until: Second::new(70),
        },
        Change::GrantRole(role, member.clone()),
        Change::ChangeRole {
            role,
            name: Some("people".to_owned()),
            permissions: Some(RolePermission::ALL.into()),
        },
        Change::RevokeRole(role, member.clone()),
        Change::GrantRole(role, member),
        Change::RenameOrganisation(organisation(1, "").id, "renamed".to_owned()),
        Change::SetRetention(organisation(1, "").id, Retention::Hours(720)),
    ];
    changes.extend(changes_of_sign_in(organisation(0, "").id, application));
    changes
        .extend([Change::RemoveOrganisation(organisation(1, "").id), Change::RemoveApplication(application)]);
    changes
}

/// The even ones have a value in every place.
fn source(number: u128, organisation: OrganisationId) -> Source {
    let networks = vec![Network::parse("10.0.0.0/8").expect("a network")];
    let bounds = SourceBounds {
        networks: networks.clone(),
        bytes_per_second: 9.try_into().ok(),
        ..SourceBounds::default()
    };
    let read_as = ReadAs {
        format: Some("argus".to_owned()),
        time_zone: Some("UTC".to_owned()),
        columns: Some("time=ts".to_owned()),
        local_networks: Some(networks),
    };
    let is_full = number.is_multiple_of(2);
    Source {
        id: SourceId(Uuid::from_u128(number)),
        organisation,
        name: SourceName::new(&format!("source {number}")).expect("a name"),
        read_as: if is_full { read_as } else { ReadAs::default() },
        bounds: if is_full { bounds } else { SourceBounds::default() },
        tokens: vec![secret(4)],
        created_at: Second::new(6),
    }
}

/// People, how they sign in, certificates, encrypted keys; some of it is there at the end.
fn changes_of_sign_in(home: OrganisationId, application: ApplicationId) -> Vec<Change> {
    let user = |number: u128, organisation| User {
        id: UserId(Uuid::from_u128(number)),
        organisation,
        name: format!("kim{number}@example.org"),
        password: PasswordHash("$argon2id$v=19$x".to_owned()),
        password_set_at: Second::new(7),
        created_at: Second::new(6),
    };
    let certificate = |byte| Certificate {
        sha256: [byte; 32],
        sha1: [byte; 20],
        public_key: vec![byte; 270],
        not_before: Second::new(3),
        not_after: Second::MAX,
        created_at: Second::new(4),
    };
    let uri = |text| RedirectUri::new(text).expect("a URI");
    let sign_in = SignIn {
        delegated: Permission::ALL.into(),
        redirect_uris: [uri("http://localhost"), uri("https://soar.example/back")].into(),
        device_code: true,
        password: true,
        public: false,
    };
    let public = Application {
        id: ApplicationId(Uuid::from_u128(17)),
        organisation: home,
        name: "hunting".to_owned(),
        permissions: Vec::new(),
        sign_in: SignIn { public: true, password: false, ..sign_in.clone() },
        secrets: Vec::new(),
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at: Second::new(4),
    };
    let (first, second) = (user(1, home), user(2, home));
    let password = PasswordHash("$argon2id$v=19$y".to_owned());
    let sealed = |byte| PrivateKey::Sealed(vec![byte; 40]);
    let key = SigningKey { kid: "k2".to_owned(), private: sealed(4), created_at: Second::new(2) };
    vec![
        Change::AddUser(first.clone()),
        Change::AddUser(second.clone()),
        Change::AddUser(user(3, organisation(1))),
        Change::SetPassword { user: first.id, password, at: Second::new(8) },
        Change::RemoveUser(second.id),
        Change::ChangeApplication {
            application,
            permissions: Some([Permission::Manage].into()),
            sign_in: sign_in.into(),
        },
        Change::AddApplication(public),
        Change::AddCertificate(application, certificate(7)),
        Change::AddCertificate(application, certificate(8)),
        Change::RemoveCertificate(application, [7; 32]),
        Change::KeepSigningKey("k1".to_owned(), sealed(5)),
        Change::AddSigningKey(key),
        Change::RemoveSigningKey("k1".to_owned()),
    ]
}

fn commit(directory: &FolderDirectory, change: &Change) -> bool {
    now(directory.commit(change.clone(), Actor("a test".to_owned()), Second::new(10))).is_ok()
}

#[test]
fn one_process_holds_a_folder() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("data");
    let folder = DataFolder::open(&path, Options::default()).expect("opens");
    assert!(matches!(DataFolder::open(&path, Options::default()), Err(OpenError::Locked { .. })));
    assert_eq!(path.metadata().expect("exists").permissions().mode() & 0o777, 0o700);
    assert_eq!(path.join("directory.redb").metadata().expect("exists").permissions().mode() & 0o777, 0o600);
    assert!(DataFolder::exists(&path));
    drop(folder);
    DataFolder::open(&path, Options::default()).expect("opens again");
}

/// The lock goes with the last of the folder's parts: whoever still has the store may still be writing.
#[test]
fn the_folder_is_held_while_anybody_has_a_part_of_it() {
    let root = tempfile::tempdir().expect("a folder");
    let open = || DataFolder::open(root.path(), Options::default());
    let folder = open().expect("opens");
    let (store, directory) = (folder.store(), folder.directory());
    drop(folder);
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    drop(store);
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    drop(directory);
    open().expect("opens again");
}

#[test]
fn a_lost_directory_is_not_taken_for_a_new_one() {
    let root = tempfile::tempdir().expect("a folder");
    drop(DataFolder::open(root.path(), Options::default()).expect("opens"));
    std::fs::remove_file(root.path().join("directory.redb")).expect("removed");
    let Err(error) = DataFolder::open(root.path(), Options::default()) else { panic!("it opened") };
    assert!(error.to_string().contains("restore the whole data folder"), "{error}");
    assert!(!root.path().join("directory.redb").exists());
}

#[test]
fn an_empty_folder_becomes_private() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("data");
    std::fs::create_dir(&path).expect("made");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    let _folder = DataFolder::open(&path, Options::default()).expect("opens");
    assert_eq!(path.metadata().expect("exists").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::write(root.path().join("thesis.txt"), "years of work").expect("written");
    assert!(matches!(DataFolder::open(root.path(), Options::default()), Err(OpenError::Foreign { .. })));
    assert_eq!(root.path().read_dir().expect("readable").count(), 1);
}

#[test]
fn store_and_directory_survive_a_restart() {
    let root = tempfile::tempdir().expect("a folder");
    let line = Line { who: 0, whither: 0, day: 0, place: 0, carried: None };
    let mut book = Book::default();
    for change in &changes() {
        let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
        assert!(commit(&folder.directory(), change));
        let _ = now(folder.store().append(&batch(0, 0, &[line]))).expect("taken");
        book.apply(change).expect("makes sense");
        drop(folder);
        let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
        assert_eq!(*folder.directory().book_now(), book);
        assert_eq!(
            now(folder.store().devices(organisation(0), None, Second::MAX)).expect("devices").len(),
            1
        );
    }
    let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
    let audit = now(folder.directory().audit(100)).expect("an audit log");
    assert_eq!(audit.len(), changes().len());
    assert!(audit[0].what.starts_with("removed application"));
    for secret in ["0101", "argon2", "0505"] {
        assert!(!format!("{audit:?}").contains(secret), "no secret in the audit log");
    }
    let book = folder.directory().book_now();
    assert_eq!((book.users.len(), book.applications.len(), book.signing_keys.len()), (1, 1, 1));
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
    let first = &changes()[0];
    assert!(commit(&folder.directory(), first) && !commit(&folder.directory(), first));
    assert_eq!(now(folder.directory().audit(100)).expect("an audit log").len(), 1);
}

#[test]
fn every_committed_change_survives_a_power_cut_anywhere() {
    let whole = Sim::default();
    let work = |disk: &Sim| match FolderDirectory::open(Arc::new(disk.clone())) {
        Ok(directory) => changes().iter().take_while(|change| commit(&directory, change)).count(),
        Err(_) => 0,
    };
    assert_eq!(work(&whole), changes().len());
    for cut in 0..whole.operations() {
        let disk = Sim::default();
        disk.cut_before(cut);
        let committed = work(&disk);
        let left = disk.after_power_cut(&mut Dice(cut));
        let directory = FolderDirectory::open(Arc::new(left.clone()))
            .unwrap_or_else(|error| panic!("cut {cut}, {committed}: {error}"));
        let book_after = |count: usize| {
            let mut book = Book::default();
            for change in changes().iter().take(count) {
                book.apply(change).expect("makes sense");
            }
            book
        };
        let found = directory.book_now();
        assert!(
            *found == book_after(committed) || *found == book_after(committed + 1),
            "cut {cut}, {committed} committed"
        );
        assert_eq!(Arc::strong_count(&found), 2);
    }
}

/// Anybody can bring a made-up code to the issuer: that must not make the disk work.
#[test]
fn a_ticket_that_is_not_there_costs_no_write() {
    let disk = Sim::default();
    let directory = FolderDirectory::open(Arc::new(disk.clone())).expect("opens");
    let key = |byte| TicketKey { kind: TicketKind::Code, sha256: [byte; 32] };
    let ticket = Ticket { expires_at: Second::new(10), content: vec![1] };
    assert!(now(directory.add_ticket(key(1), ticket.clone(), Second::new(5))).expect("kept"));
    let before = disk.operations();
    for (byte, second) in [(2, 5), (1, 11)] {
        assert_eq!(now(directory.take_ticket(key(byte), Second::new(second))).expect("read"), None);
        let replaced = now(directory.replace_ticket(key(byte), ticket.clone(), Second::new(second)));
        assert!(!replaced.expect("read"));
    }
    assert_eq!(disk.operations(), before);
    assert_eq!(now(directory.take_ticket(key(1), Second::new(10))).expect("taken"), Some(ticket));
    assert!(disk.operations() > before);
}

/// A page of some applications, each with so many grants.
fn page(extent: Extent, steady_ms: u64, applications: u128, grants: u64) -> GrantPage {
    let granted = |number| Granted {
        organisation: organisation(0),
        application: ApplicationId(Uuid::from_u128(number)),
        ages_ms: (0..grants).rev().map(|age| age * 37).collect(),
    };
    let granted = (0..applications).map(granted).collect();
    GrantPage { extent, clock: Uuid::from_u128(9), steady_ms, wall_ms: 1_700_000_000_000, granted }
}

#[test]
fn granted_calls_survive_a_restart() {
    let root = tempfile::tempdir().expect("a folder");
    let mut expected = Vec::new();
    for number in 0..20 {
        let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
        assert_eq!(now(folder.directory().grants()), Ok(expected.clone()));
        let extent = if number % 7 == 6 { Extent::Whole } else { Extent::Further };
        // Thousands of applications, with all that each gets in an hour.
        let page = match number {
            13 => page(extent, number, 4_000, 1_500),
            _ => page(extent, number, u128::from(number), number),
        };
        now(folder.directory().keep_grants(page.clone())).expect("kept");
        if extent == Extent::Whole {
            expected.clear();
        }
        expected.push(page);
        // The book is another thing: neither touches the other.
        if number < changes().len() as u64 {
            assert!(commit(&folder.directory(), &changes()[number as usize]));
        }
    }
}

#[test]
fn the_file_of_the_directory_does_not_grow_with_time() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
    let bytes = || root.path().join("directory.redb").metadata().expect("exists").len();
    let mut after_second = 0;
    for hour in 0..12 {
        // As the HTTP side writes: small pages, and at times all of it anew.
        for second in 0..200 {
            let extent = if second == 0 { Extent::Whole } else { Extent::Further };
            let grants = if second == 0 { 1_500 } else { 2 };
            let page = page(extent, hour * 3_600_000 + second * 1_000, 50, grants);
            folder.directory().keep_grants_now(&page).expect("kept");
        }
        // A whole page and its successor lie beside each other for a moment: the second hour needs room that the first did not.
        if hour == 1 {
            after_second = bytes();
        }
    }
    assert!(bytes() <= after_second, "{} after {after_second}", bytes());
    assert!(bytes() < 2 << 20, "{}", bytes());
}

#[test]
fn pages_of_granted_calls_survive_a_power_cut_anywhere() {
    let pages = [
        page(Extent::Further, 1, 3, 4),
        page(Extent::Further, 2, 1, 2),
        page(Extent::Whole, 3, 5, 700),
        page(Extent::Further, 4, 2, 1),
    ];
    let kept_after = |count: usize| {
        let whole = pages[..count].iter().rposition(|page| page.extent == Extent::Whole).unwrap_or(0);
        pages[whole..count].to_vec()
    };
    let work = |disk: &Sim| match FolderDirectory::open(Arc::new(disk.clone())) {
        Ok(directory) => pages.iter().take_while(|page| directory.keep_grants_now(page).is_ok()).count(),
        Err(_) => 0,
    };
    let whole = Sim::default();
    assert_eq!(work(&whole), pages.len());
    for cut in 0..whole.operations() {
        let disk = Sim::default();
        disk.cut_before(cut);
        let kept = work(&disk);
        let left = disk.after_power_cut(&mut Dice(cut));
        let directory = FolderDirectory::open(Arc::new(left.clone()))
            .unwrap_or_else(|error| panic!("cut {cut}, {kept}: {error}"));
        let found = now(directory.grants()).expect("pages");
        let fits = found == kept_after(kept) || found == kept_after((kept + 1).min(pages.len()));
        assert!(fits, "cut {cut}, {kept} kept");
    }
}
