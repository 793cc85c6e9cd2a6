// peerjs-server with nothing on it but room for the bench: its own limit is 5,000 clients.
import { PeerServer } from "peer";

const [host, port] = process.argv.slice(-2);
PeerServer({ host, port: Number(port), concurrent_limit: 30000 });
