//! Going back: a whole backup, one entity with its history, or the last moment of a day.

use jiff::civil::Date;
use jiff::tz::Offset;

use super::folder::{Entry, Folder};
use super::load::Load;
use super::load_table::LoadTable;
use super::make::OurTables;
use super::manifest::{Form, Manifest, Reason, TableManifest};
use super::{Backups, dump, native, unfinished, verify};
use crate::base::clock::{Timestamp, format_timestamp};
use crate::base::error::{Error, Result};
use crate::store::db::Db;
use crate::store::db::DbResult;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::start::StartLock;

/// What a restore does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The safety copy of the state before; none where nothing was done yet, or there was nothing to copy.
    pub safety_copy: Option<String>,
    /// Table by table.
    pub steps: Vec<Step>,
}

/// What becomes of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub table: String,
    /// Its rows before; none where it was not there.
    pub rows_before: Option<u64>,
    /// Its rows after; none where it goes.
    pub rows_after: Option<u64>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.rows_before, self.rows_after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} rows become {after}", self.table),
            (None, Some(after)) => write!(f, "{}: is made anew with {after} rows", self.table),
            (Some(before), None) => write!(f, "{}: goes, with {before} rows", self.table),
            (None, None) => write!(f, "{}: is not there", self.table),
        }
    }
}

/// Brings the database back to the last restore point of a day or earlier: `2026-01-29` means until its end in UTC. A safety copy first; all or nothing.
/// Without `confirm` it does nothing but say what it would do. The schema is then brought up to date again; caches of running services are not.
///
/// # Errors
/// Where there is no such point; lists those there are.
pub async fn rollback_to_date(db: &Db, date: &str, confirm: bool) -> Result<Restored> {
    let restored = db.backups()?.rollback(date, confirm).await?;
    if confirm {
        db.migrate().await?;
    }
    Ok(restored)
}

impl Backups {
    /// What [`Backups::restore`] would do. Changes nothing.
    ///
    /// # Errors
    /// Where the backup can't be restored here; says why.
    pub async fn plan_restore(&self, name: &str, table: Option<&str>) -> Result<Restored> {
        self.fetch_if_missing(name).await?;
        let (entry, manifest) = self.restorable(name, table).await?;
        self.plan(&entry, &manifest, table).await
    }

    /// Makes the database what a backup says; with a table, only that entity and its history. A safety copy is made first.
    ///
    /// # Errors
    /// Where the backup is damaged, of another service or for another kind of database, or the database refuses. Nothing was changed then.
    pub async fn restore(&self, name: &str, table: Option<&str>) -> Result<Restored> {
        // No start may change the schema meanwhile.
        let alone = StartLock::take(self.url()).await?;
        let restored = self.restore_alone(name, table).await;
        alone.release().await;
        restored
    }

    async fn restore_alone(&self, name: &str, table: Option<&str>) -> Result<Restored> {
        unfinished::finish_alone(&self.db).await?;
        self.fetch_if_missing(name).await?;
        let _lock = self.folder().lock().await?;
        let (entry, manifest) = self.restorable(name, table).await?;
        let mut restored = self.plan(&entry, &manifest, table).await?;
        if restored.steps.iter().any(|step| step.rows_before.is_some()) {
            restored.safety_copy = Some(self.make_locked(Reason::BeforeRestore, &[entry.point()]).await?.csv);
        }
        self.apply(&entry, manifest, table).await?;
        self.db.shared.tables.forget_undeclared();
        Ok(restored)
    }

    /// See [`rollback_to_date`]; leaves the schema as the backup has it.
    ///
    /// # Errors
    /// Where there is no restore point of that day or earlier; lists those there are.
    pub async fn rollback(&self, date: &str, confirm: bool) -> Result<Restored> {
        let name = self.point_of(date)?.name;
        if confirm { self.restore(&name, None).await } else { self.plan_restore(&name, None).await }
    }

    /// The newest restore point not later than the end of a day.
    fn point_of(&self, date: &str) -> Result<Entry> {
        let day: Date = Some(date)
            .filter(|text| text.len() == "2026-01-29".len())
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::invalid(format!("`{date}` is no day; write it as 2026-01-29")))?;
        let end = day.tomorrow().ok().and_then(|next| Offset::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok());
        let points = self.points(&self.folder())?;
        let fits = |(manifest, _): &&(Manifest, Entry)| end.is_none_or(|end| manifest.created_at < end);
        if let Some((_, entry)) = points.iter().rfind(fits) {
            return Ok(entry.clone());
        }
        let there: Vec<String> = points
            .iter()
            .map(|(manifest, entry)| format!("{} ({})", entry.name, format_timestamp(manifest.created_at)))
            .collect();
        let there = if there.is_empty() {
            "there are none at all".to_owned()
        } else {
            format!("there are {}", there.join(", "))
        };
        Err(Error::not_found(format!("there is no restore point of {date} or earlier; {there}")))
    }

    /// The backups of this service that every database can read, the oldest first.
    fn points(&self, folder: &Folder) -> Result<Vec<(Manifest, Entry)>> {
        let mut points: Vec<(Manifest, Entry)> = folder
            .entries()?
            .into_iter()
            .filter(|entry| entry.form == Form::Csv)
            .filter_map(|entry| Some((entry.manifest().ok()?, entry)))
            .filter(|(manifest, _)| manifest.service == self.options.service)
            .collect();
        points.sort_by(|(a, x), (b, y)| (a.created_at, x.point()).cmp(&(b.created_at, y.point())));
        Ok(points)
    }

    /// Finds a backup and reads all of it, before anything is touched.
    async fn restorable(&self, name: &str, table: Option<&str>) -> Result<(Entry, Manifest)> {
        let entry = self.folder().find(name)?;
        let manifest = verify::entry(&entry).await?;
        if manifest.service != self.options.service {
            return Err(Error::invalid(format!(
                "{} is a backup of the service `{}`, and this is `{}`; nothing was changed",
                entry.name, manifest.service, self.options.service
            )));
        }
        let backend = self.db.backend().as_str();
        if entry.form == Form::Native && manifest.backend != backend {
            return Err(Error::invalid(format!(
                "{} is native to {}, and this is {backend}; restore csv_{} instead. Nothing was changed",
                entry.name,
                manifest.backend,
                entry.point()
            )));
        }
        if entry.form == Form::Native && table.is_some() {
            return Err(Error::invalid(format!("one table is restored from CSV only: from csv_{}", entry.point())));
        }
        tables_of(&manifest, table)?;
        Ok((entry, manifest))
    }

    async fn plan(&self, entry: &Entry, manifest: &Manifest, table: Option<&str>) -> Result<Restored> {
        let driver = self.connect_apart().await?;
        let counted = driver.read(Count(OurTables(self.declared()))).await;
        driver.close().await;
        let before = counted?;
        let after = tables_of(manifest, table)?;
        let mut steps: Vec<Step> = after
            .iter()
            .map(|table| Step {
                table: table.name.clone(),
                rows_before: before.iter().find(|(name, _)| *name == table.name).map(|(_, rows)| *rows),
                rows_after: Some(table.rows),
            })
            .collect();
        if table.is_none() {
            let goes = before.iter().filter(|(name, _)| after.iter().all(|table| table.name != *name));
            steps.extend(goes.map(|(name, rows)| Step {
                table: name.clone(),
                rows_before: Some(*rows),
                rows_after: None,
            }));
        }
        Ok(Restored { name: entry.name.clone(), created_at: manifest.created_at, safety_copy: None, steps })
    }

    async fn apply(&self, entry: &Entry, manifest: Manifest, table: Option<&str>) -> Result<()> {
        let driver = self.connect_apart().await?;
        let (folder, declared, progress) = (entry.path(), self.declared(), self.progress.clone());
        let result = match (entry.form, table) {
            (Form::Native, None) if dump::is_dump(&folder) => {
                Load { folder, manifest, declared, progress }.run_on(&driver).await
            }
            (Form::Csv, None) => Load { folder, manifest, declared, progress }.run_on(&driver).await,
            (Form::Csv, Some(_)) => {
                let tables = tables_of(&manifest, table)?;
                let load = LoadTable { folder, tables, declared, progress };
                driver.write(std::sync::Arc::new(load)).await.map_err(Error::from)
            }
            (Form::Native, _) => {
                let before = driver.read(OurTables(declared)).await?;
                let before = before.into_iter().map(|table| table.name).collect();
                native::restore(self.url(), before, &entry.path()).await
            }
        };
        driver.close().await;
        result
    }
}

/// All tables of a backup, or those of one entity.
fn tables_of(manifest: &Manifest, table: Option<&str>) -> Result<Vec<TableManifest>> {
    let Some(name) = table else { return Ok(manifest.tables.clone()) };
    let history = format!("{name}_history");
    let tables: Vec<TableManifest> =
        manifest.tables.iter().filter(|table| table.name == name || table.name == history).cloned().collect();
    if tables.iter().any(|table| table.name == name) {
        return Ok(tables);
    }
    let names: Vec<&str> = manifest.tables.iter().map(|table| table.name.as_str()).collect();
    Err(Error::not_found(format!("the backup has no table `{name}`; it has {}", names.join(", "))))
}

/// How many rows our tables have.
struct Count(OurTables);

impl Operation for Count {
    type Output = Vec<(String, u64)>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Vec<(String, u64)>> {
        let mut counts = Vec::new();
        for table in self.0.run(session).await? {
            let sql = format!("SELECT COUNT(*) FROM {}", quoted(&table.name, session.dialect()));
            let rows = session.query(&sql, &[], |row| row.int(0)).await?;
            counts.push((table.name, rows.first().copied().unwrap_or(0).unsigned_abs()));
        }
        Ok(counts)
    }
}
