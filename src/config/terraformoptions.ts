/** Options that only `tunnel jumphost terraform` has: where the instance is in the cloud. */
import { UsageError } from '../errors/errors.ts';
import type { TerraformPlan } from '../jumphost/plan.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, type Place } from '../net/place.ts';
import { type GivenOptions, once, readOptions } from './option.ts';

/** Neutron's own limit for a name. */
const MAX_NAME_CHARACTERS = 255;

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

function readNetworkName(text: string, place: Place): string {
  const characters = Array.from(text).length;
  if (characters > 0 && characters <= MAX_NAME_CHARACTERS && !/\p{C}/u.test(text)) return text;
  throw new UsageError(
    `${formatPlace(place)}: ${quoted(text)} is not the name of a network: 1 to ${MAX_NAME_CHARACTERS} characters that can be seen`,
    { hint: 'write it as "openstack network list" shows it' },
  );
}
