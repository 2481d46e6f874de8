/** The options that name a cloud: for `connect`, `exec`, `proxy` and `tunnel openstack`. */
import { type Command, Option } from 'commander';
import { CATALOG_MODES } from '../config/openstackoptions.ts';
import { once } from './connect.ts';

export function addCloudOptions(command: Command): void {
  for (const option of cloudOptions()) command.addOption(option);
}

function cloudOptions(): Option[] {
  return [
    new Option(
      '--os-cloud <name>',
      'take the endpoints of this cloud of clouds.yaml; "envvars": of the OS_* variables',
    ).argParser(once('--os-cloud')),
    new Option(
      '--os-region <name>',
      'its region, unless OS_REGION_NAME or clouds.yaml says it',
    ).argParser(once('--os-region')),
    new Option(
      '--os-catalog <mode>',
      `where its endpoints are taken from: ${CATALOG_MODES.join(', ')} (default: auto)`,
    ).argParser(once('--os-catalog')),
    new Option(
      '--os-follow-links',
      'also take hosts that only version documents of its services name',
    ),
  ];
}
