//! The specification's tables in `spec/` at the top of the project, as rows.

use std::path::PathBuf;

/// A row of `virtio_registers.csv`.
pub(crate) struct Register {
    pub(crate) structure: String,
    pub(crate) field: String,
    offset: String,
    width: String,
    pub(crate) access: String,
    reset: String,
    pub(crate) notes: String,
}

impl Register {
    /// The offset, where it is a plain number.
    pub(crate) fn offset(&self) -> u64 {
        number(&self.offset).unwrap_or_else(|| panic!("{}: offset {}", self.field, self.offset))
    }

    /// The width in bytes.
    pub(crate) fn width(&self) -> u64 {
        number(&self.width).unwrap_or_else(|| panic!("{}: width {}", self.field, self.width))
    }

    /// The first byte behind the field.
    pub(crate) fn end(&self) -> u64 {
        self.offset() + self.width()
    }

    /// The value after reset, where it is a plain number.
    pub(crate) fn reset(&self) -> Option<u64> {
        number(&self.reset)
    }

    /// An offset like `4+2*i`, at `i`.
    pub(crate) fn offset_at(&self, i: u64) -> u64 {
        linear(&self.offset, i).unwrap_or_else(|| panic!("{}: offset {}", self.field, self.offset))
    }

    /// The offset as it stands there.
    pub(crate) fn place(&self) -> &str {
        &self.offset
    }

    /// A number in the notes that comes before `name`, as in `1 NEXT, 2 WRITE`.
    pub(crate) fn code(&self, name: &str) -> u64 {
        self.notes
            .split([',', ';', '.'])
            .filter_map(|part| part.trim().split_once(' '))
            .find(|(_, rest)| rest.split([' ', '(']).next() == Some(name))
            .and_then(|(code, _)| number(code))
            .unwrap_or_else(|| panic!("{} has no {name} in: {}", self.field, self.notes))
    }
}

/// `0x10` or `16`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `a+b*i` at `i`, whatever the variable is called.
pub(crate) fn linear(text: &str, i: u64) -> Option<u64> {
    let (start, step) = text.split_once('+')?;
    let (step, _) = step.split_once('*')?;
    Some(number(start)? + number(step)? * i)
}

fn rows(file: &str) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec").join(file);
    let mut reader =
        csv::Reader::from_path(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    reader
        .records()
        .map(|record| {
            let record = record.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            record.iter().map(str::to_owned).collect()
        })
        .collect()
}

/// `virtio_registers.csv`.
pub(crate) struct Registers(Vec<Register>);

impl Registers {
    pub(crate) fn load() -> Self {
        let rows = rows("virtio_registers.csv").into_iter().map(|row| {
            let [structure, field, offset, width, access, reset, notes] =
                <[String; 7]>::try_from(row).expect("seven columns");
            Register { structure, field, offset, width, access, reset, notes }
        });
        Self(rows.collect())
    }

    /// The rows of the structure whose name begins like this; at least one.
    pub(crate) fn structure(&self, name: &str) -> Vec<&Register> {
        let rows: Vec<_> = self.0.iter().filter(|row| row.structure.starts_with(name)).collect();
        assert!(!rows.is_empty(), "no structure {name}");
        assert!(
            rows.iter().all(|row| row.structure == rows[0].structure),
            "{name} begins the names of two structures"
        );
        rows
    }

    /// One field.
    pub(crate) fn field(&self, structure: &str, field: &str) -> &Register {
        self.structure(structure)
            .into_iter()
            .find(|row| row.field == field)
            .unwrap_or_else(|| panic!("{structure} has no field {field}"))
    }
}

/// `feature_bits.csv`: name and bit of every row with a number; the scope tells name-sakes apart.
pub(crate) fn feature_bits() -> Vec<(String, u32)> {
    rows("feature_bits.csv")
        .into_iter()
        .filter_map(|row| Some((row[1].clone(), row[0].parse().ok()?)))
        .collect()
}
