//! The immutable state that a question sees: per organisation and cell, the runs in memory and the segments on disk.
//! A new view replaces the old one as a whole, so no question sees half a change. Refuses to hold: who changes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use sighting::{Day, Network, OrganisationId};

use crate::filter::Probe;
use crate::joins::Joins;
use crate::leases::Leases;
use crate::names::Names;
use crate::row::{Row, Table};
use crate::run::Run;
use crate::segment::{Cell, Segment};

/// Everything, at one moment.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) organisations: HashMap<OrganisationId, Arc<OrganisationView>>,
    /// NAT gateways of every organisation.
    pub(crate) gateways: Arc<[Network]>,
}

/// One organisation, at one moment. Its names may be newer: they only grow.
#[derive(Clone, Default)]
pub(crate) struct OrganisationView {
    tables: [BTreeMap<Day, Arc<CellView>>; Table::ALL.len()],
    pub(crate) names: Arc<RwLock<Names>>,
    pub(crate) joins: Arc<Joins>,
    /// NAT gateways beside those that an operator taught.
    gateways: Arc<[Network]>,
    /// What the rows of the table of leases say.
    pub(crate) leases: Arc<Leases>,
    /// How often retention took sightings away: they only grow but for that.
    pub(crate) cuts: u64,
}

/// One cell, at one moment.
#[derive(Clone, Default)]
pub(crate) struct CellView {
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl CellView {
    /// Whether each run, then each segment, may hold the key of a probe.
    pub(crate) fn may_hold(&self, probe: &Probe) -> impl Iterator<Item = bool> {
        let runs = self.runs.iter().map(|run| run.may_hold(probe));
        runs.chain(self.segments.iter().map(|segment| segment.may_hold(probe)))
    }
}

impl OrganisationView {
    /// An organisation without cells.
    pub(crate) fn new(names: Names, gateways: &Arc<[Network]>) -> OrganisationView {
        OrganisationView {
            names: Arc::new(RwLock::new(names)),
            gateways: Arc::clone(gateways),
            ..OrganisationView::default()
        }
    }

    /// The cells of a table, by day.
    pub(crate) fn table(&self, table: Table) -> &BTreeMap<Day, Arc<CellView>> {
        &self.tables[table as usize]
    }

    /// The names, for reading.
    pub(crate) fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell to change; it is made if it is missing.
    pub(crate) fn cell_mut(&mut self, table: Table, day: Day) -> &mut CellView {
        Arc::make_mut(self.tables[table as usize].entry(day).or_default())
    }

    /// Takes up leases, whose rows are in the view or are about to be.
    pub(crate) fn take_leases<'r>(&mut self, rows: impl Iterator<Item = &'r Row>) {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut self.leases).add(rows, &names);
    }

    /// Brings the joins up to date with the names.
    pub(crate) fn update_joins(&mut self) {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if !self.joins.is_current(&names) {
            Arc::make_mut(&mut self.joins).update(&names, &self.gateways);
        }
    }

    /// Forgets cells that hold nothing.
    pub(crate) fn drop_empty(&mut self) {
        for table in &mut self.tables {
            table.retain(|_, cell| !cell.runs.is_empty() || !cell.segments.is_empty());
        }
    }

    /// Every cell with its table and day.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (Table, Day, &Arc<CellView>)> {
        Table::ALL
            .into_iter()
            .flat_map(|table| self.table(table).iter().map(move |(day, cell)| (table, *day, cell)))
    }
}

impl View {
    /// An organisation to change; it is made if it is missing.
    pub(crate) fn organisation_mut(&mut self, id: OrganisationId) -> &mut OrganisationView {
        let gateways = &self.gateways;
        let new = || Arc::new(OrganisationView::new(Names::default(), gateways));
        Arc::make_mut(self.organisations.entry(id).or_insert_with(new))
    }

    /// Every cell with its place.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (Cell, &Arc<CellView>)> {
        self.organisations.iter().flat_map(|(organisation, view)| {
            view.cells().map(|(table, day, cell)| (Cell { organisation: *organisation, table, day }, cell))
        })
    }
}
