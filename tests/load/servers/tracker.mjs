// bittorrent-tracker's WebSocket tracker alone. Its main file needs a native module: not here.
import Server from "bittorrent-tracker/server";

const [host, port] = process.argv.slice(-2);
const server = new Server({ http: true, udp: false, ws: true, stats: false, trustProxy: false });
server.on("error", (error) => console.error(error));
server.on("warning", (error) => console.error(error.message));
server.listen(Number(port), host);
