/** Options that only `tunnel jumphost terraform` has: where the instance is in the cloud. */
import { UsageError } from '../errors/errors.ts';
import type { CloudInitPlan, TerraformPlan } from '../jumphost/plan.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, type Place } from '../net/place.ts';
import { type GivenOptions, once, readOptions } from './option.ts';

/** Neutron's own limit for a name. */
const MAX_NETWORK_NAME_CHARACTERS = 255;

export const TERRAFORM_OPTIONS = {
  heading: 'OpenStack, for terraform:',
  options: {
    network: once(
      '--network <name>',
      'the public network that the instance is on, without a floating address',
      readNetworkName,
    ),
    floatingPool: once(
      '--floating-pool <name>',
      'the external network that gives a floating address (default: a variable)',
      readNetworkName,
    ),
    privateNetwork: once(
      '--private-network <name>',
      'a network for a second port, with what is behind the jump host',
      readNetworkName,
    ),
  },
} as const;

/** Throws UsageError. */
export function readTerraformPlan(options: GivenOptions): TerraformPlan {
  const { network, floatingPool, privateNetwork } = readOptions(TERRAFORM_OPTIONS, options);
  if (network !== undefined && floatingPool !== undefined) {
    throw new UsageError(
      `${filePrefix(floatingPool.place)}--floating-pool is given with --network, whose addresses need no floating one`,
      {
        hint: 'leave --network out to have the instance on a private network (the variable "network")',
      },
    );
  }
  if (network !== undefined && network.value === privateNetwork?.value) {
    throw new UsageError(
      `${filePrefix(privateNetwork.place)}--private-network and --network name the same network`,
      { hint: 'leave --private-network out: the first port is there already' },
    );
  }
  return {
    network: network?.value,
    floatingPool: floatingPool?.value,
    privateNetwork: privateNetwork?.value,
  };
}

/**
 * Throws UsageError for a certificate of some names where the address isn't given: users would
 * write the one that Terraform learns, and the certificate isn't good for it.
 */
export function requireCertifiedAddress({ address, hostKey }: CloudInitPlan): void {
  const principals = hostKey?.certificate?.principals ?? [];
  if (address !== undefined || principals.length === 0) return;
  throw new UsageError(
    `--host-certificate is for ${principals.map(quoted).join(', ')}, and --address is not given`,
    { hint: 'give the one that users will write, as in: --address jump.example.com' },
  );
}

function readNetworkName(text: string, place: Place): string {
  if (text.normalize('NFC') !== text) {
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} has accents that are characters of their own, and Terraform would look for another name`,
      { hint: 'rename the network, as in: openstack network set --name NAME ID' },
    );
  }
  const characters = Array.from(text).length;
  if (characters > 0 && characters <= MAX_NETWORK_NAME_CHARACTERS && !/\p{C}/u.test(text))
    return text;
  throw new UsageError(
    `${formatPlace(place)}: ${quoted(text)} is not the name of a network: 1 to ${MAX_NETWORK_NAME_CHARACTERS} characters that can be seen`,
    { hint: 'write it as "openstack network list" shows it' },
  );
}
