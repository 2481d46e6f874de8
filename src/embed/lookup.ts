/**
 * A function for the `lookup` option of clients that resolve names before they connect.
 *
 * A name belongs to the jump host: only there it is known what it stands for. So nothing is
 * resolved, and a name is answered with itself. A client that passes the answer on to the tunnel
 * then connects by name. If it passes it to net.connect() instead, past the tunnel, that refuses
 * it (ERR_INVALID_IP_ADDRESS): no connection goes out by another way, and no query does.
 */
import { isIP, type LookupFunction } from 'node:net';

export const lookup: LookupFunction = (hostname, options, callback) => {
  const family = isIP(hostname);
  const found = { address: hostname, family: family === 0 ? 4 : family };
  // As dns.lookup: never before it returns.
  process.nextTick(() => {
    if (options.all === true) callback(null, [found]);
    else callback(null, found.address, found.family);
  });
};
