//! Which errors of a driver say that the machine the user has chosen is too small: those are bad input,
//! not a failure of the bench.

use host_driver::dma::DmaError;
use host_driver::dma::iommu::IommuError;
use host_driver::virtqueue::AddError;
use host_driver::virtqueue::placement::PlacementError;
use host_driver::{ProbeError, SubmitError};

/// The driver found no memory to run the card with.
pub(super) fn at_probe(error: &ProbeError) -> bool {
    match error {
        ProbeError::Memory(_) => true,
        ProbeError::Placement(PlacementError::Dma(error)) | ProbeError::Dma(error) => of_dma(error),
        ProbeError::Placement(PlacementError::WindowFull { .. }) => true,
        ProbeError::Receive(error) => at_add(error),
        _ => false,
    }
}

/// The driver found no memory for a request.
pub(super) fn at_submit(error: &SubmitError) -> bool {
    matches!(error, SubmitError::Queue(error) if at_add(error))
}

fn at_add(error: &AddError) -> bool {
    match error {
        AddError::OutOfMemory(_) => true,
        AddError::Io(error) => of_dma(error),
        _ => false,
    }
}

fn of_dma(error: &DmaError) -> bool {
    match error {
        DmaError::Memory(_) => true,
        DmaError::Iommu(error) => of_iommu(error),
        _ => false,
    }
}

/// The IOMMU's tables found no memory.
pub(super) fn of_iommu(error: &IommuError) -> bool {
    matches!(error, IommuError::Memory(_))
}
