//! What is listed, where it outlives the server.

use std::{collections::HashMap, io, path::Path};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::listing::Listed;

const LISTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("listed");

/// See the module.
pub struct Store(Database);

impl Store {
    /// Opens it, and reads what an earlier run listed.
    pub fn open(path: &Path) -> io::Result<(Self, HashMap<String, Listed>)> {
        let database = Database::create(path).map_err(io::Error::other)?;
        let listed = load(&database).map_err(io::Error::other)?;
        Ok((Self(database), listed))
    }

    /// Keeps what is listed of these URLs now, or that nothing is. What cannot be stored is looked at
    /// anew by the next run.
    pub fn put<'a>(&self, all: impl IntoIterator<Item = (&'a str, Option<&'a Listed>)>) {
        if let Err(error) = self.write(all) {
            tracing::warn!("upstream: not stored: {error}");
        }
    }

    fn write<'a>(
        &self,
        all: impl IntoIterator<Item = (&'a str, Option<&'a Listed>)>,
    ) -> io::Result<()> {
        let write = self.0.begin_write().map_err(io::Error::other)?;
        {
            let mut table = write.open_table(LISTED).map_err(io::Error::other)?;
            for (url, listed) in all {
                match listed {
                    Some(listed) => {
                        let bytes = serde_json::to_vec(listed)?;
                        table
                            .insert(url, bytes.as_slice())
                            .map_err(io::Error::other)?;
                    }
                    None => {
                        table.remove(url).map_err(io::Error::other)?;
                    }
                }
            }
        }
        write.commit().map_err(io::Error::other)
    }
}

fn load(database: &Database) -> Result<HashMap<String, Listed>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(LISTED) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(HashMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut listed = HashMap::new();
    for row in table.iter()? {
        let (url, bytes) = row?;
        // Of a version that wrote it otherwise: looked at anew when somebody names it.
        if let Ok(one) = serde_json::from_slice(bytes.value()) {
            listed.insert(url.value().to_owned(), one);
        }
    }
    Ok(listed)
}
