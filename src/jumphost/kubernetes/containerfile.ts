/**
 * The image: Debian's sshd and its one user, and nothing else. Keys, configuration and script come
 * as volumes, so that the image is the same for all lists.
 */
import { UsageError } from '../../errors/errors.ts';
import { comment, FORCED_COMMAND, GROUP, type JumpHostPlan, type KubernetesPlan } from '../plan.ts';
import { formatSshdVersion, isOlder, type SshdVersion } from '../versions.ts';
import { UID } from './names.ts';

export const CONTAINERFILE = 'Containerfile';

/** Debian's releases, and the sshd that each has. */
const RELEASES: readonly { readonly sshd: SshdVersion; readonly name: string }[] = [
  { sshd: [9, 2], name: 'bookworm' },
  { sshd: [10, 0], name: 'trixie' },
];

/** The oldest release whose sshd takes what is rendered. Throws UsageError when there is none. */
export function releaseFor(version: SshdVersion): string {
  const [oldest, newest] = [RELEASES[0], RELEASES.at(-1)];
  const found = RELEASES.find(({ sshd }) => !isOlder(sshd, version));
  if (oldest === undefined || newest === undefined) throw new TypeError('no release is listed');
  if (isOlder(version, oldest.sshd))
    throw new UsageError(
      `--openssh ${formatSshdVersion(version)}: the image is a new one, and its sshd is not that old`,
      { hint: `leave it out: the image has ${formatSshdVersion(oldest.sshd)}` },
    );
  if (found === undefined)
    throw new UsageError(
      `--openssh ${formatSshdVersion(version)}: no release of Debian has it, and the image is made of one`,
      { hint: `write --openssh ${formatSshdVersion(newest.sshd)}: newer servers take it as well` },
    );
  return found.name;
}

/**
 * The user's shell is one that every release has: sshd refuses a user whose shell doesn't exist,
 * and trixie's essential packages have no nologin.
 */
export function containerfile(plan: JumpHostPlan, { image }: KubernetesPlan): string {
  const { user, keysFrom, version } = plan;
  const packages = [
    'openssh-server',
    ...(keysFrom.some(({ kind }) => kind === 'url') ? ['ca-certificates', 'curl'] : []),
  ];
  return `${comment(
    `The image: Debian's sshd for one user, and nothing else.`,
    '',
    'Apply, with podman or docker, in the directory of this file:',
    `  podman build --pull -t ${image} -f ${CONTAINERFILE} .`,
    `  podman push ${image}`,
    'Build it again for updates of sshd, under a new tag, and render with that.',
    ...keysFrom.flatMap((source) =>
      source.kind === 'command' ? [`Add what this command needs: ${source.command}`] : [],
    ),
    '',
    'Verify:',
    `  podman run --rm ${image} id   # uid=${UID}(${user})`,
    `  podman run --rm ${image} dpkg-query -W openssh-server`,
    '',
    `Undo: podman rmi ${image}, and remove it from the registry.`,
  )}

FROM docker.io/library/debian:${releaseFor(version)}-slim
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    ${packages.join(' ')} \\
 && rm -rf /var/lib/apt/lists/* /var/log/* /etc/ssh/ssh_host_* \\
 && groupadd --gid ${UID} ${GROUP} \\
 && useradd --uid ${UID} --gid ${UID} --no-create-home --home-dir /nonexistent \\
    --no-log-init --shell ${FORCED_COMMAND} ${user} \\
 && mkdir -p /usr/libexec /etc/tunnel
USER ${UID}:${UID}
`;
}
