"""OVA: a disk with the description of a machine, which VMware, VirtualBox and others import (DMTF DSP0243, version 1).

The archive is a tar file in the format ustar. It begins with the description, then the list of digests, then the disk.
Resource types are those of CIM (DSP0004): 3 processor, 4 memory, 10 Ethernet, 17 disk, 20 SATA controller.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from stagewright.graph.file_digest import digest_of
from stagewright.lazy_dataclass import dataclass

_ENVELOPE = "http://schemas.dmtf.org/ovf/envelope/1"
_RESOURCES = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_SYSTEM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_VMWARE = "http://www.vmware.com/schema/ovf"
_STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_OTHER_LINUX_64 = 101  # CIM_OperatingSystem


@dataclass(frozen=True)
class Appliance:
    """The machine of an OVA. ``memory`` is in MiB. ``efi`` is True if it starts by UEFI, otherwise by BIOS."""

    name: str
    product: str
    version: str
    efi: bool
    memory: int = 1024
    cpus: int = 2


def write_ova(appliance: Appliance, disk: Path, capacity: int, target: Path, epoch: int) -> None:
    """Write an OVA with a disk (vmdk, streamOptimized) that has ``capacity`` bytes."""
    description = describe(appliance, disk.name, disk.stat().st_size, capacity).encode()
    name = f"{target.stem}.ovf"
    sums = {name: hashlib.sha256(description).hexdigest(), disk.name: digest_of(disk, "sha256")}
    listed = "".join(f"SHA256({file})= {digest}\n" for file, digest in sums.items()).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file, data in ((name, description), (f"{target.stem}.mf", listed)):
            archive.addfile(_member(file, len(data), epoch), io.BytesIO(data))
        with disk.open("rb") as stream:
            archive.addfile(_member(disk.name, disk.stat().st_size, epoch), stream)


def _member(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, epoch, 0o644
    return info


def describe(appliance: Appliance, file: str, size: int, capacity: int) -> str:
    """Return the description (OVF). ``file`` is the name of the disk, ``size`` that of the file in bytes."""
    name = escape(appliance.name)
    firmware = '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>' if appliance.efi else ""
    items = (
        _item(1, 3, f"{appliance.cpus} processors", VirtualQuantity=appliance.cpus),
        _item(
            2, 4, f"{appliance.memory} MiB of memory", AllocationUnits="byte * 2^20", VirtualQuantity=appliance.memory
        ),
        _item(3, 20, "SATA controller", Address=0, ResourceSubType="AHCI"),
        _item(4, 17, "Disk", AddressOnParent=0, HostResource="ovf:/disk/disk1", Parent=3),
        _item(5, 10, "Network", AutomaticAllocation="true", Connection="NAT", ResourceSubType="E1000"),
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ovf:Envelope xmlns:ovf="{_ENVELOPE}" xmlns:rasd="{_RESOURCES}" xmlns:vssd="{_SYSTEM}" xmlns:vmw="{_VMWARE}">
  <ovf:References>
    <ovf:File ovf:id="file1" ovf:href={quoteattr(file)} ovf:size="{size}"/>
  </ovf:References>
  <ovf:DiskSection>
    <ovf:Info>Disks</ovf:Info>
    <ovf:Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{capacity}" ovf:format="{_STREAM}"/>
  </ovf:DiskSection>
  <ovf:NetworkSection>
    <ovf:Info>Networks</ovf:Info>
    <ovf:Network ovf:name="NAT"><ovf:Description>The network of the host</ovf:Description></ovf:Network>
  </ovf:NetworkSection>
  <ovf:VirtualSystem ovf:id={quoteattr(appliance.name)}>
    <ovf:Info>A virtual machine</ovf:Info>
    <ovf:Name>{name}</ovf:Name>
    <ovf:ProductSection>
      <ovf:Info>Product</ovf:Info>
      <ovf:Product>{escape(appliance.product)}</ovf:Product>
      <ovf:Version>{escape(appliance.version)}</ovf:Version>
    </ovf:ProductSection>
    <ovf:OperatingSystemSection ovf:id="{_OTHER_LINUX_64}">
      <ovf:Info>The installed operating system</ovf:Info>
    </ovf:OperatingSystemSection>
    <ovf:VirtualHardwareSection>
      <ovf:Info>Virtual hardware</ovf:Info>
      <ovf:System>
        <vssd:ElementName>Virtual hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </ovf:System>
{"".join(items)}      {firmware}
    </ovf:VirtualHardwareSection>
  </ovf:VirtualSystem>
</ovf:Envelope>
"""


def _item(number: int, kind: int, name: str, **more: object) -> str:
    """Return one resource. The specification wants its elements in the order of their names."""
    fields: dict[str, object] = {"ElementName": name, "InstanceID": number, "ResourceType": kind, **more}
    lines = "".join(f"        <rasd:{key}>{escape(str(fields[key]))}</rasd:{key}>\n" for key in sorted(fields))
    return f"      <ovf:Item>\n{lines}      </ovf:Item>\n"
