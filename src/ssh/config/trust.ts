/**
 * The keywords of ssh_config that say whom to trust, and with which algorithms: each can forbid
 * something. A line with one of them is never passed over (evaluate.ts, unobeyed.ts;
 * docs/decisions/0038).
 */

/** The values with which a keyword forbids nothing; undefined: any value may forbid something. */
const HARMLESS: Readonly<Record<string, RegExp | undefined>> = {
  bindinterface: /^none$/i,
  casignaturealgorithms: undefined,
  checkhostip: /^(no|false)$/i,
  ciphers: undefined,
  globalknownhostsfile: undefined,
  hostbasedacceptedalgorithms: undefined,
  hostkeyalgorithms: undefined,
  hostkeyalias: undefined,
  identitiesonly: /^(no|false)$/i,
  kbdinteractiveauthentication: /^(yes|true)$/i,
  kexalgorithms: undefined,
  knownhostscommand: /^none$/i,
  macs: undefined,
  numberofpasswordprompts: undefined,
  passwordauthentication: /^(yes|true)$/i,
  preferredauthentications: undefined,
  pubkeyacceptedalgorithms: undefined,
  pubkeyauthentication: /^(yes|true|unbound|host-bound)$/i,
  refuseconnection: undefined,
  rekeylimit: undefined,
  requiredrsasize: undefined,
  revokedhostkeys: /^none$/i,
  stricthostkeychecking: /^(no|false|off|ask|accept-new)$/i,
  // Nothing to look keys up in: they are asked about.
  userknownhostsfile: /^(none|\/dev\/null)$/i,
  verifyhostkeydns: /^(no|false)$/i,
};

const SEVERAL_WORDS = new Set([
  'globalknownhostsfile',
  'knownhostscommand',
  'refuseconnection',
  'rekeylimit',
  'revokedhostkeys',
  'userknownhostsfile',
]);

const YES_NO = /^(yes|no|true|false)$/i;

/** What ssh takes; anything else is an error, not a "no" or a "yes". */
const FLAGS: Readonly<Record<string, RegExp>> = {
  batchmode: YES_NO,
  checkhostip: YES_NO,
  hashknownhosts: YES_NO,
  identitiesonly: YES_NO,
  kbdinteractiveauthentication: YES_NO,
  passwordauthentication: YES_NO,
  pubkeyauthentication: /^(yes|no|true|false|unbound|host-bound)$/i,
  stricthostkeychecking: /^(yes|no|true|false|off|ask|accept-new)$/i,
  verifyhostkeydns: /^(yes|no|true|false|ask)$/i,
};

/** Whether ssh takes this value, as far as it is known here. `keyword`: as above. */
export function isValue(keyword: string, value: string): boolean {
  return FLAGS[keyword]?.test(value) ?? true;
}

/** Whether a line may forbid something. `keyword`: in lower case, its present name. */
export function mayForbid(keyword: string, args: readonly string[]): boolean {
  if (!(keyword in HARMLESS)) return false;
  const harmless = HARMLESS[keyword];
  return harmless === undefined || args.length !== 1 || !harmless.test(args[0] ?? '');
}

/** Whether ssh refuses a line of this keyword that has several words. */
export function takesOneWord(keyword: string): boolean {
  return keyword in HARMLESS && !SEVERAL_WORDS.has(keyword);
}
