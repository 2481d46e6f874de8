# A forward-only jump host on OpenStack. For Terraform 1.3 or later, or OpenTofu.
#
# Apply, with this file as main.tf in a directory of its own, and with OS_CLOUD or the OS_*
# variables naming the cloud:
#   printf '%s\n' \
#     'image = "NAME"' \
#     'flavor = "NAME"' \
#     'network = "NAME"' \
#     'updates_from = ["0.0.0.0/0", "::/0"]' \
#     'time_servers = ["0.0.0.0/0", "::/0"]' \
#     >terraform.tfvars
#   terraform init
#   terraform apply
# Besides the list the machine reaches DNS servers, and what two variables say: updates_from for
# package mirrors, time_servers for clocks. As written here these are anywhere; [] is nowhere.
# The image needs cloud-init, and OpenSSH 9.2 or later. The variables say what else can be set.
# So there are up to 17 rules of security groups. A project may have 100 unless its
# quota says otherwise (openstack quota show).
# The network of the instance needs a router to the floating pool.
#
# Verify:
#   terraform plan -detailed-exitcode   # status 0: everything is as described here
#   terraform output                    # what users run, and how they pin the host key
#
# A changed list or option makes a new instance, at the same address.
# Its host key is a new one.
# A newer image is used only by a new instance:
#   terraform apply -replace=openstack_compute_instance_v2.jumphost
#
# Undo:
#   terraform destroy

terraform {
  required_version = ">= 1.3"

  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.0"
    }
  }
}

variable "name" {
  type        = string
  description = "Of the instance. Its ports and security groups begin with it."
  default     = "tunnel-jumphost"
}

variable "image" {
  type        = string
  description = "Name of an image with cloud-init, as in: openstack image list"
}

variable "flavor" {
  type        = string
  description = "Name of a flavor with a disk, as in: openstack flavor list. A small one is enough."
}

# Without one nobody can log in to it except its users, who may only forward.
variable "key_pair" {
  type        = string
  description = "Name of a key pair for the image's own user, who administers the machine."
  default     = null
}

variable "network" {
  type        = string
  description = "Name of the private network of the instance. Its router leads to the pool."
}

variable "floating_pool" {
  type        = string
  description = "Name of the external network that gives the floating address."
  default     = "ext-net"
}

# Users have no fixed address as a rule, so everybody may knock; keys decide. Narrow it where you
# can.
variable "ssh_from" {
  type        = list(string)
  description = "Prefixes from which users and administrators connect."
  default     = ["0.0.0.0/0", "::/0"]

  validation {
    condition = alltrue([
      for it in var.ssh_from : try(cidrsubnet(it, 0, 0) == it, false)
    ])
    error_message = "Write prefixes without host bits, as in \"192.0.2.0/24\" or \"2001:db8::/32\"."
  }
}

# sshd resolves listed names there.
variable "dns_servers" {
  type        = list(string)
  description = "Prefixes of the resolvers that the subnet or the image names."
  default     = ["0.0.0.0/0", "::/0"]

  validation {
    condition = alltrue([
      for it in var.dns_servers : try(cidrsubnet(it, 0, 0) == it, false)
    ])
    error_message = "Write prefixes without host bits, as in \"192.0.2.0/24\" or \"2001:db8::/32\"."
  }
}

# Mirrors have names, and security groups know none. So these ports are open to every address,
# unless you have a mirror of your own. With [] the machine gets no security updates, and what
# the first boot installs must be in the image. sshd's list stays as it is in any case.
variable "updates_from" {
  type        = list(string)
  description = "Prefixes of package mirrors, for ports 80 and 443."

  validation {
    condition = alltrue([
      for it in var.updates_from : try(cidrsubnet(it, 0, 0) == it, false)
    ])
    error_message = "Write prefixes without host bits, as in \"192.0.2.0/24\" or \"2001:db8::/32\"."
  }
}

# Certificates and codes by time need the right time.
variable "time_servers" {
  type        = list(string)
  description = "Prefixes of NTP servers."

  validation {
    condition = alltrue([
      for it in var.time_servers : try(cidrsubnet(it, 0, 0) == it, false)
    ])
    error_message = "Write prefixes without host bits, as in \"192.0.2.0/24\" or \"2001:db8::/32\"."
  }
}

variable "more_egress" {
  type = list(object({
    protocol = string
    first    = number
    last     = number
    to       = string
  }))
  description = "What the machine needs to reach besides, such as a log host."
  default     = []

  validation {
    condition = alltrue([
      for it in var.more_egress[*].to : try(cidrsubnet(it, 0, 0) == it, false)
    ])
    error_message = "Write prefixes without host bits, as in \"192.0.2.0/24\" or \"2001:db8::/32\"."
  }
}

# What is listed. sshd admits the same and nothing else, to each user.
locals {
  listed = [
    # By name. Security groups know no names, so the port is open to every address:
    #   api.example.com
    { protocol = "tcp", first = 443, last = 443, to = "0.0.0.0/0" },
    { protocol = "tcp", first = 443, last = 443, to = "::/0" },
    { protocol = "tcp", first = 1, last = 65535, to = "10.0.0.5/32" },
    { protocol = "tcp", first = 8774, last = 8774, to = "2001:db8::5/128" },
  ]
}

# What the machine sends, besides answers to ssh.
locals {
  egress = distinct(concat(
    local.listed,
    [for it in setproduct(["tcp", "udp"], var.dns_servers) :
      { protocol = it[0], first = 53, last = 53, to = it[1] }
    ],
    [for it in setproduct([80, 443], var.updates_from) :
      { protocol = "tcp", first = it[0], last = it[0], to = it[1] }
    ],
    [for to in var.time_servers :
      { protocol = "udp", first = 123, last = 123, to = to }
    ],
    # The metadata service, for images that ignore the configuration drive.
    [{ protocol = "tcp", first = 80, last = 80, to = "169.254.169.254/32" }],
    var.more_egress,
  ))
}

resource "openstack_networking_secgroup_v2" "ssh" {
  name                 = "${var.name}-ssh"
  description          = "ssh to the jump host"
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "ssh" {
  for_each = toset(var.ssh_from)

  security_group_id = openstack_networking_secgroup_v2.ssh.id
  direction         = "ingress"
  ethertype         = length(regexall(":", each.value)) > 0 ? "IPv6" : "IPv4"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_ip_prefix  = each.value
}

# Without Neutron's default rules, which let everything out.
resource "openstack_networking_secgroup_v2" "egress" {
  name                 = "${var.name}-egress"
  description          = "what the jump host may connect to"
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "egress" {
  for_each = {
    for it in local.egress : "${it.protocol} ${it.first}-${it.last} ${it.to}" => it
  }

  security_group_id = openstack_networking_secgroup_v2.egress.id
  direction         = "egress"
  ethertype         = length(regexall(":", each.value.to)) > 0 ? "IPv6" : "IPv4"
  protocol          = each.value.protocol
  port_range_min    = each.value.first
  port_range_max    = each.value.last
  remote_ip_prefix  = each.value.to
}

data "openstack_networking_network_v2" "jumphost" {
  name = var.network
}

resource "openstack_networking_port_v2" "jumphost" {
  name           = var.name
  network_id     = data.openstack_networking_network_v2.jumphost.id
  admin_state_up = true
  security_group_ids = [
    openstack_networking_secgroup_v2.ssh.id,
    openstack_networking_secgroup_v2.egress.id,
  ]
}

resource "openstack_networking_floatingip_v2" "jumphost" {
  pool        = var.floating_pool
  description = var.name
  port_id     = openstack_networking_port_v2.jumphost.id
}

locals {
  address = openstack_networking_floatingip_v2.jumphost.address
}

resource "openstack_compute_instance_v2" "jumphost" {
  name        = var.name
  image_name  = var.image
  flavor_name = var.flavor
  key_pair    = var.key_pair
  user_data   = local.user_data
  # The user-data and the addresses of all ports are there before the network is.
  config_drive = true

  network {
    port = openstack_networking_port_v2.jumphost.id
  }

  lifecycle {
    # Clouds rename an image when there is a newer one, and the provider would rebuild the machine.
    ignore_changes = [image_id, image_name]
  }

  # The first boot installs packages.
  depends_on = [
    openstack_networking_secgroup_rule_v2.ssh,
    openstack_networking_secgroup_rule_v2.egress,
  ]
}

locals {
  reached    = local.address
  host       = length(regexall(":", local.reached)) > 0 ? "[${local.reached}]" : local.reached
  known_host = local.reached
}

output "address" {
  description = "Where the jump host is."
  value       = local.address
}

output "tunnel" {
  description = "What users run. Tell them how to believe the host key, too."
  value       = "tunnel -r tunnel@${local.host} api.example.com:443 10.0.0.5 '[2001:db8::5]:8774'"
}

output "host_key" {
  description = "A command that prints the option to pin the host key, once the jump host is ready."
  value       = "openstack console log show ${openstack_compute_instance_v2.jumphost.id} | grep -a -m 1 -e 'tunnel-jumphost: --host-key SHA256:' | grep -a -o -e '--host-key SHA256:[A-Za-z0-9+/]*'"
}

# As "tunnel jumphost cloud-init" renders it, with the same options.
locals {
  user_data = <<USER_DATA
#cloud-config
USER_DATA
}
