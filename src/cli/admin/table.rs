//! Tables as Kafka's tools print them: a blank line, titles, and rows whose columns are padded and have a space between them.

use super::groups::Partition;

/// Width of a column, in characters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    /// The longest text of the column, and at least this.
    AtLeast(usize),
    /// This, also where a text is longer.
    Fixed(usize),
}

use Width::{AtLeast, Fixed};

/// A column that is not padded: the last one.
pub(super) const UNPADDED: Width = Fixed(0);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    width: usize,
    texts: Vec<String>,
}

impl Table {
    /// Adds a column with a text for each row.
    pub(super) fn column(
        &mut self,
        title: &'static str,
        width: Width,
        texts: impl IntoIterator<Item = String>,
    ) {
        let texts: Vec<String> = texts.into_iter().collect();
        let width = match width {
            AtLeast(least) => texts.iter().map(String::len).fold(least, usize::max),
            Fixed(width) => width,
        };
        self.columns.push(Column {
            title,
            width,
            texts,
        });
    }

    /// A table with a row for each partition, and the columns that name the partition.
    pub(super) fn of_partitions<'a>(
        group: &str,
        topic_width: Width,
        partitions: impl Iterator<Item = &'a Partition> + Clone,
    ) -> Self {
        let mut table = Self::default();
        let groups = partitions.clone().map(|_| group.to_owned());
        table.column("GROUP", AtLeast(15), groups);
        let topics = partitions.clone().map(|(topic, _)| topic.clone());
        table.column("TOPIC", topic_width, topics);
        let indexes = partitions.map(|(_, index)| index.to_string());
        table.column("PARTITION", Fixed(10), indexes);
        table
    }

    pub(super) fn print(&self) {
        println!("\n{self}");
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |f: &mut std::fmt::Formatter<'_>, row: Option<usize>| {
            for (index, column) in self.columns.iter().enumerate() {
                let space = if index == 0 { "" } else { " " };
                let text = row.map_or(column.title, |row| &column.texts[row]);
                write!(f, "{space}{text:<width$}", width = column.width)?;
            }
            Ok(())
        };
        line(f, None)?;
        let rows = self.columns.first().map_or(0, |column| column.texts.len());
        (0..rows).try_for_each(|row| {
            writeln!(f)?;
            line(f, Some(row))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_texts_or_as_they_are_told_to_be() {
        let texts = |some: [&str; 2]| some.map(str::to_owned);
        let mut table = Table::default();
        table.column("A", AtLeast(2), texts(["x", "long"]));
        table.column("B", Fixed(3), texts(["y", "longer"]));
        table.column("C", UNPADDED, texts(["1", "2"]));
        assert_eq!(table.to_string(), "A    B   C\nx    y   1\nlong longer 2");
    }
}
