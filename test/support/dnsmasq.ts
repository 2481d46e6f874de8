/**
 * dnsmasq at one address, in the foreground; it knows only what the other arguments define.
 */
export function dnsmasqAt(address: string, ...args: readonly string[]): string[] {
  return [
    'dnsmasq',
    '--keep-in-foreground',
    '--no-resolv',
    '--no-hosts',
    '--pid-file=',
    '--user=root',
    '--bind-interfaces',
    `--listen-address=${address}`,
    ...args,
  ];
}
