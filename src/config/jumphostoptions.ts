/**
 * The command line of `tunnel jumphost FORMAT`: what a jump host is to admit, and how it is
 * rendered.
 *
 * The list is what TARGETs, -s, --allow and --os-cloud name together. Options that a format has no
 * use for are errors, so that nobody believes they had an effect.
 */
import { UsageError } from '../errors/errors.ts';
import { KEYS_COMMAND_USER } from '../jumphost/keyscommand.ts';
import { permittedDestinations } from '../jumphost/permitted.ts';
import { type JumpHostPlan, MFA_MODULES } from '../jumphost/plan.ts';
import {
  DEFAULT_SSHD,
  formatSshdVersion,
  knows,
  parseSshdVersion,
  SINCE,
} from '../jumphost/versions.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, oneOf, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import type { Level } from '../observe/observer.ts';
import { DEFAULT_PORT, type SshOptions } from '../ssh/options.ts';
import { ALLOW_OPTIONS, readAllowOptions } from './allowfile.ts';
import { CLOUD_INIT_OPTIONS, readCloudInitPlan } from './cloudinitoptions.ts';
import type { NameTarget, Target } from './configuration.ts';
import { AGENT, readKeys } from './keyfile.ts';
import { readFromPattern, readKeySource } from './keysource.ts';
import { KUBERNETES_OPTIONS, readKubernetesPlan } from './kubernetesoptions.ts';
import {
  CLOUD_OPTIONS,
  isAsked,
  type OpenStackOptions,
  readOpenStackOptions,
} from './openstackoptions.ts';
import {
  type GivenArguments,
  type GivenOptions,
  nonEmpty,
  type Option,
  once,
  readOptions,
  repeated,
  toggle,
} from './option.ts';
import { readLogLevel, VERBOSITY_OPTIONS } from './runoptions.ts';
import { CONNECTION_OPTIONS, JUMP_HOST_OPTIONS, readSshOptions } from './sshoptions.ts';
import { readTargetRules, TARGET_OPTIONS } from './targetoptions.ts';
import {
  readTerraformPlan,
  requireCertifiedAddress,
  TERRAFORM_OPTIONS,
} from './terraformoptions.ts';

export const JUMP_HOST_FORMATS = [
  'sshd',
  'authorized-key',
  'keys-command',
  'cloud-init',
  'terraform',
  'kubernetes',
] as const;
export type JumpHostFormat = (typeof JUMP_HOST_FORMATS)[number];

const LIST_OPTIONS = {
  heading: 'What it admits:',
  options: {
    targetsFrom: TARGET_OPTIONS.options.targetsFrom,
    allow: ALLOW_OPTIONS.options.allow,
  },
} as const;

const HOST_OPTIONS = {
  heading: 'Jump host:',
  options: {
    user: once('--user <name>', 'the login of its users (default: tunnel)', readUser),
    key: repeated(
      '--key <file>',
      'public keys of its users, one a line, or "agent" for those of ssh-agent (repeatable)',
      // A file is read later, once: options are read again and again, and a pipe has its text once.
      nonEmpty('the name of the file'),
    ),
    keysFrom: repeated(
      '--keys-from <source>',
      'where sshd asks for their keys at each login: an https:// address, or a command (repeatable)',
      readKeySource,
    ),
    from: repeated(
      '--from <pattern>',
      'addresses from which the keys are good: one, a prefix, or with * (repeatable; default: all)',
      readFromPattern,
    ),
    port: once('--port <port>', 'the port that users see (default: 22)', (text, place) =>
      readAt(place, text, 'write a port from 1 to 65535, as in: --port 2222', parsePort),
    ),
    openssh: once(
      '--openssh <version>',
      `of its sshd (default: ${DEFAULT_SSHD.join('.')})`,
      (text, place) => readAt(place, text, 'write it as in: --openssh 9.2', parseSshdVersion),
    ),
    mfa: toggle('--mfa', 'ask for a code by time besides the key'),
    mfaModule: once(
      '--mfa-module <name>',
      `who checks it, of PAM: ${MFA_MODULES.join(' or ')} (default: ${MFA_MODULES[0]})`,
      (text, place) => oneOf(MFA_MODULES, text, place, `as in: --mfa-module ${MFA_MODULES[1]}`),
      MFA_MODULES,
    ),
    behindProxy: toggle(
      '--behind-proxy',
      'connections come from a load balancer: nothing is limited by address',
    ),
  },
} as const;

const OUTPUT_OPTIONS = {
  heading: 'Output:',
  options: {
    output: once(
      '--output <directory>',
      'write the files into this new or empty directory instead of printing them',
      nonEmpty('the name of the directory'),
    ),
  },
} as const;

/** To fetch a catalog through a jump host that is there already. Its port is part of -r. */
const REMOTE_OPTIONS = {
  heading: 'Existing jump host, for --os-cloud:',
  options: {
    remote: JUMP_HOST_OPTIONS.options.remote,
    identity: JUMP_HOST_OPTIONS.options.identity,
    jump: JUMP_HOST_OPTIONS.options.jump,
    sshConfig: JUMP_HOST_OPTIONS.options.sshConfig,
    sshOption: JUMP_HOST_OPTIONS.options.sshOption,
  },
} as const;

/** In the order of help. */
export const JUMPHOST_GROUPS = [
  LIST_OPTIONS,
  CLOUD_OPTIONS,
  HOST_OPTIONS,
  CLOUD_INIT_OPTIONS,
  TERRAFORM_OPTIONS,
  KUBERNETES_OPTIONS,
  OUTPUT_OPTIONS,
  REMOTE_OPTIONS,
  CONNECTION_OPTIONS,
  VERBOSITY_OPTIONS,
] as const;

const {
  user: USER,
  key: KEY,
  keysFrom: KEYS_FROM,
  from: FROM,
  port: PORT,
  mfa: MFA,
  mfaModule: MFA_MODULE,
} = HOST_OPTIONS.options;

/** Groups of which a format uses some options. */
const FORMAT_GROUPS = [
  HOST_OPTIONS,
  CLOUD_INIT_OPTIONS,
  TERRAFORM_OPTIONS,
  KUBERNETES_OPTIONS,
] as const;

const { hostPrivateKey, hostCertificate, hostCa } = CLOUD_INIT_OPTIONS.options;
/** Besides those of the list: whose file may be standard input. */
const KEY_FILES: readonly Option[] = [KEY, hostPrivateKey, hostCertificate, hostCa];

/** Of FORMAT_GROUPS, what each format makes something of. */
const USES: Readonly<Record<JumpHostFormat, readonly Option[]>> = {
  sshd: Object.values(HOST_OPTIONS.options).filter((option) => option !== KEY),
  'authorized-key': [USER, KEY, FROM, PORT],
  'keys-command': [KEYS_FROM, FROM],
  'cloud-init': [HOST_OPTIONS, CLOUD_INIT_OPTIONS].flatMap(({ options }) => Object.values(options)),
  terraform: [HOST_OPTIONS, CLOUD_INIT_OPTIONS, TERRAFORM_OPTIONS].flatMap(({ options }) =>
    Object.values<Option>(options),
  ),
  kubernetes: [
    ...Object.values<Option>(HOST_OPTIONS.options).filter(
      (option) => option !== MFA && option !== MFA_MODULE,
    ),
    ...Object.values(KUBERNETES_OPTIONS.options),
  ],
};

/** Why a format can't use an option that others use, where that isn't plain. */
const REASONS: Readonly<Partial<Record<JumpHostFormat, ReadonlyMap<Option, string>>>> = {
  kubernetes: new Map(
    [MFA, MFA_MODULE].map((option) => [option, 'codes are checked by PAM, which needs root']),
  ),
};

export interface JumpHostConfiguration {
  readonly format: JumpHostFormat;
  /** All of it except what is permitted. */
  readonly plan: Omit<JumpHostPlan, 'permitted'>;
  /** The keys of ssh-agent come after those of the plan. */
  readonly agentKeys: boolean;
  /** Without the endpoints of a cloud. */
  readonly targets: readonly Target[];
  readonly nameTargets: readonly NameTarget[];
  /** undefined: no cloud is asked. */
  readonly openstack: OpenStackOptions | undefined;
  /** undefined: the catalog can't be fetched, and must not be needed. */
  readonly ssh: SshOptions | undefined;
  /** undefined: standard output. */
  readonly output: string | undefined;
  readonly logLevel: Level;
}

/** Throws UsageError. */
export function buildJumpHostConfiguration(given: GivenArguments): JumpHostConfiguration {
  const [first, ...operands] = given.operands;
  if (first === undefined) {
    throw new UsageError('no format is given', {
      hint: `write one of ${JUMP_HOST_FORMATS.join(', ')}; as in: tunnel jumphost sshd api.example.com:443`,
    });
  }
  const format = oneOf(
    JUMP_HOST_FORMATS,
    first.text,
    { kind: 'argument', name: 'format' },
    'the format comes first, as in: tunnel jumphost sshd api.example.com:443',
  );
  const { options } = given;
  refuseContradictions(options);
  refuseUnused(format, options);
  requireKeys(format, options);
  const openstack = readOpenStackOptions(options);
  const ssh = readRemote(openstack, options);
  const { key } = readOptions(HOST_OPTIONS, options);
  const { rules } = readTargetRules({ operands, options }, false, KEY_FILES);
  const allowed = readAllowOptions(options).rules;
  const configuration = {
    format,
    plan: withFormat(format, readPlan(options), options),
    agentKeys: key.some(({ value }) => value === AGENT),
    targets: [...rules.targets, ...(allowed?.prefixes ?? [])],
    nameTargets: [...rules.nameTargets, ...(allowed?.names ?? [])],
    openstack,
    ssh,
    output: readOptions(OUTPUT_OPTIONS, options).output?.value,
    logLevel: readLogLevel(options),
  };
  if (format === 'terraform') requireCertifiedAddress(configuration.plan.cloudInit);
  // What is wrong with the list is said before anybody is asked for a catalog.
  const { targets, nameTargets } = configuration;
  if (openstack === undefined || targets.length + nameTargets.length > 0)
    permittedDestinations(targets, nameTargets);
  return configuration;
}

function readPlan(options: GivenOptions): JumpHostConfiguration['plan'] {
  const host = readOptions(HOST_OPTIONS, options);
  const { user, key, keysFrom, from, port, openssh, mfa, mfaModule, behindProxy } = host;
  if (mfa !== undefined && openssh !== undefined && !knows(openssh.value, 'kbdInteractiveInMatch'))
    throw new UsageError(
      `${filePrefix(mfa)}--mfa is not possible with OpenSSH ${formatSshdVersion(openssh.value)}: it asks either all users for a code or nobody`,
      {
        hint: `upgrade the jump host to ${formatSshdVersion(SINCE.kbdInteractiveInMatch)} or later`,
      },
    );
  return {
    user: user?.value ?? 'tunnel',
    port: port?.value ?? DEFAULT_PORT,
    version: openssh?.value ?? DEFAULT_SSHD,
    keys: readKeys(key),
    keysFrom: keysFrom.map(({ value }) => value),
    from: from.map(({ value }) => value),
    mfa: mfa === undefined ? undefined : (mfaModule?.value ?? MFA_MODULES[0]),
    behindProxy: behindProxy !== undefined,
    cloudInit: readCloudInitPlan(options),
    terraform: readTerraformPlan(options),
  };
}

/** With what only one format has. */
function withFormat(
  format: JumpHostFormat,
  plan: JumpHostConfiguration['plan'],
  options: GivenOptions,
): JumpHostConfiguration['plan'] {
  return format === 'kubernetes' ? readKubernetesPlan(plan, options) : plan;
}

/** A catalog is fetched through a jump host, or not needed. */
function readRemote(
  openstack: OpenStackOptions | undefined,
  options: GivenOptions,
): SshOptions | undefined {
  const { remote } = readOptions(REMOTE_OPTIONS, options);
  const [first] = remote;
  if (first !== undefined) {
    if (openstack !== undefined && isAsked(openstack.catalog)) return readSshOptions(options);
    throw new UsageError(
      `${filePrefix(first.place)}-r is for the catalog of --os-cloud, and none is fetched`,
      { hint: 'leave -r out: a jump host is rendered without asking anybody' },
    );
  }
  if (openstack === undefined || !isAsked(openstack.catalog)) return undefined;
  throw new UsageError(
    '--os-cloud has its catalog fetched through a jump host, and none is given',
    {
      hint: 'name one with -r; without any yet, give the catalog with --os-catalog-file, or --os-catalog off takes the auth_url alone',
    },
  );
}

function refuseContradictions(options: GivenOptions): void {
  const { from, behindProxy, mfa, mfaModule } = readOptions(HOST_OPTIONS, options);
  const [first] = from;
  if (first !== undefined && behindProxy !== undefined) {
    throw new UsageError(
      `${filePrefix(first.place)}--from is given with --behind-proxy, where all users have the proxy's address`,
      { hint: 'leave --from out, or limit the addresses at the proxy' },
    );
  }
  if (first !== undefined && from.every(({ value }) => value.startsWith('!'))) {
    throw new UsageError(
      `${filePrefix(first.place)}--from only leaves addresses out, so that nobody could log in`,
      { hint: 'name those as well from which the keys are good, as in: --from "*"' },
    );
  }
  if (mfaModule !== undefined && mfa === undefined) {
    throw new UsageError(
      `${filePrefix(mfaModule.place)}--mfa-module changes nothing without --mfa`,
      { hint: 'give both' },
    );
  }
}

/**
 * Administrators of cloud images, whom sshd and its script run as, and what every Debian has
 * (base-passwd).
 */
const IMAGE_USERS: ReadonlySet<string> = new Set([
  ...['root', 'debian', 'ubuntu', 'fedora', 'centos', 'rocky', 'almalinux', 'cloud-user'],
  ...['ec2-user', 'admin', 'opc', 'sshd', 'nobody'],
  ...['daemon', 'bin', 'sys', 'sync', 'games', 'man', 'lp', 'mail', 'news', 'uucp', 'proxy'],
  ...['www-data', 'backup', 'list', 'irc', '_apt'],
]);

/** Formats for machines, or images of pods, that are made for this. */
const MAKE_MACHINES: ReadonlySet<JumpHostFormat> = new Set([
  'cloud-init',
  'terraform',
  'kubernetes',
]);

/** What a format is made of besides the list. */
function requireKeys(format: JumpHostFormat, options: GivenOptions): void {
  const { user, key, keysFrom, from } = readOptions(HOST_OPTIONS, options);
  const makesMachine = MAKE_MACHINES.has(format);
  if (format === 'authorized-key' && key.length === 0) {
    throw new UsageError('no key is given', {
      hint: 'name public keys with --key, as in: --key ~/.ssh/id_ed25519.pub, or --key agent',
    });
  }
  if (makesMachine && user !== undefined && IMAGE_USERS.has(user.value)) {
    throw new UsageError(
      `${filePrefix(user.place)}--user ${user.value} is an account that images have already`,
      { hint: 'leave --user out, or write another name' },
    );
  }
  if (makesMachine && key.length + keysFrom.length === 0) {
    throw new UsageError('no key is given, and no source of keys', {
      hint: 'name public keys with --key, or where they come from with --keys-from',
    });
  }
  if (format === 'keys-command' && keysFrom.length === 0) {
    throw new UsageError('no source of keys is given', {
      hint: 'name it as in: --keys-from https://keys.example.com/authorized_keys',
    });
  }
  const [first] = from;
  if (format === 'sshd' && first !== undefined && keysFrom.length === 0) {
    throw new UsageError(
      `${filePrefix(first.place)}--from belongs to keys, and changes nothing in sshd without --keys-from`,
      { hint: 'give it to authorized-key' },
    );
  }
}

function refuseUnused(format: JumpHostFormat, options: GivenOptions): void {
  for (const option of FORMAT_GROUPS.flatMap((group) => Object.values<Option>(group.options))) {
    const [entry] = options.get(option) ?? [];
    if (entry === undefined || USES[format].includes(option)) continue;
    const formats = JUMP_HOST_FORMATS.filter((other) => USES[other].includes(option));
    const why = REASONS[format]?.get(option);
    const message = `${filePrefix(entry.place)}${option.name} changes nothing in ${format}`;
    throw new UsageError(why === undefined ? message : `${message}: ${why}`, {
      hint:
        formats.length === 0
          ? `leave ${option.name} out`
          : `leave it out, or render ${formats.join(', ').replace(/, ([^,]*)$/, ' or $1')}`,
    });
  }
}

/** As useradd(8) takes it on Debian and Fedora. */
function readUser(text: string, place: Place): string {
  if (text === 'root') {
    throw new UsageError(`${formatPlace(place)}: root administrates the jump host`, {
      hint: 'name another login, which forwards and does nothing else, as in: --user tunnel',
    });
  }
  if (text === KEYS_COMMAND_USER) {
    throw new UsageError(`${formatPlace(place)}: ${text} runs the script of --keys-from`, {
      hint: 'name another login, as in: --user tunnel',
    });
  }
  if (/^[a-z_][a-z0-9_-]{0,30}$/.test(text)) return text;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not a login name`, {
    hint: 'write lower-case letters, digits, "-" and "_", as in: --user tunnel',
  });
}
