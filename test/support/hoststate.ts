/**
 * Everything that a tunnel might change on a machine, as one text: if nothing is left behind, the
 * texts before and after are equal, byte for byte. Values that change by themselves (lifetimes,
 * counters) are removed.
 */
import { mustRun, SEARCH_PATH } from './process.ts';

const COMMANDS = [
  'ip -o link',
  'ip -o addr',
  'ip -4 route show table all',
  'ip -6 route show table all',
  'ip -4 rule',
  'ip -6 rule',
  'nft list ruleset',
  'ls -l --time-style=full-iso /etc/resolv.conf',
  'stat -L -c "%F %a %u:%g %s bytes, modified %y" /etc/resolv.conf',
  'cat /etc/resolv.conf',
];

const VOLATILE: readonly (readonly [RegExp, string])[] = [
  // The kernel reports carriers up to a second late; whether a device is set up (UP) stays.
  [/<NO-CARRIER,/g, '<'],
  [/,LOWER_UP\b/g, ''],
  [/ state (UP|DOWN|UNKNOWN|LOWERLAYERDOWN|DORMANT)\b/g, ' state -'],
  [/ linkdown\b/g, ''],
  [/ expires \d+sec/g, ''],
  [/ age \d+\S*/g, ''],
  [/\b(valid_lft|preferred_lft) \d+sec/g, '$1 limited'],
  [/\bpackets \d+ bytes \d+/g, 'packets - bytes -'],
  // ip searches all namespaces for the name of a peer's; another lab's may be vanishing right now.
  [/^Error: Peer netns reference is invalid\.\n/gm, ''],
  // The number of a veth's other end belongs to another namespace.
  [/ link-netnsid \d+/g, ''],
  // The kernel makes it a moment after the device.
  [/^multicast ff00::\/8 dev .*\n/gm, ''],
];

/** The state of a network namespace (a name in /run/netns), by default of this process's own. */
export async function hostState(namespace?: string): Promise<string> {
  // A missing nft or resolv.conf is part of the state, so the text includes both a command's output
  // and its failure.
  const script = COMMANDS.map(
    (command) => `echo '# ${command}'\n${command} 2>&1 || echo "status $?"`,
  ).join('\n');
  const shell = ['sh', '-c', script];
  const text = await mustRun(
    namespace === undefined ? shell : ['ip', 'netns', 'exec', namespace, ...shell],
    {
      env: { PATH: SEARCH_PATH, LANG: 'C' },
    },
  );
  return VOLATILE.reduce(
    (result, [pattern, replacement]) => result.replace(pattern, replacement),
    text,
  );
}
