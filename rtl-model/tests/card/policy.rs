//! What the card takes addresses for: as a physical card does, or as a hypervisor's device.

use pcie_sim::endpoint::Endpoint;
use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::status;
use rtl_model::{AddressPolicy, CardConfig};

use crate::fetch::net;
use crate::rig::{BASE_FEATURES, Rig};

const POLICIES: [AddressPolicy; 3] = [
    AddressPolicy::NeedsAccessPlatform,
    AddressPolicy::DoesNotCare,
    AddressPolicy::BypassesAsHypervisor,
];
const LEGACY: u64 = features::VERSION_1;

fn rig(policy: AddressPolicy) -> Rig {
    Rig::placed(CardConfig { address_policy: policy, ..net() })
}

/// The cross of card and driver: FEATURES_OK, and whether requests go past the IOMMU.
#[test]
fn each_policy_meets_each_driver_in_its_own_way() {
    let expected = [
        (AddressPolicy::NeedsAccessPlatform, BASE_FEATURES, true, false),
        (AddressPolicy::NeedsAccessPlatform, LEGACY, false, false),
        (AddressPolicy::DoesNotCare, BASE_FEATURES, true, false),
        (AddressPolicy::DoesNotCare, LEGACY, true, false),
        (AddressPolicy::BypassesAsHypervisor, BASE_FEATURES, true, false),
        (AddressPolicy::BypassesAsHypervisor, LEGACY, true, true),
    ];
    for (policy, accepted, agreed, bypasses) in expected {
        let mut rig = rig(policy);
        let ok = rig.negotiate(accepted) & status::FEATURES_OK != 0;
        assert_eq!((ok, rig.card.bypasses_translation()), (agreed, bypasses), "{policy:?}");
    }
}

#[test]
fn no_physical_card_ever_bypasses_translation() {
    for policy in POLICIES {
        let hypervisor = policy == AddressPolicy::BypassesAsHypervisor;
        assert_eq!(rig(policy).card.bypasses_translation(), hypervisor, "{policy:?}");
    }
}

/// What was sent before a reset is still on its way, and was sent for an address of the bus.
#[test]
fn a_reset_does_not_change_what_addresses_mean_until_features_are_agreed_again() {
    let mut rig = rig(AddressPolicy::BypassesAsHypervisor);
    rig.negotiate(BASE_FEATURES);
    rig.set_common(pcie_sim::spec::virtio_pci::CommonReg::DeviceStatus, 0);
    assert!(!rig.card.bypasses_translation());
    rig.negotiate(LEGACY);
    assert!(rig.card.bypasses_translation());
}
