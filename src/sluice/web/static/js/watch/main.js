// What the console's router mounts; loaded only when it does, and the charts with it.
export { default as monitorPage } from "./monitor.js";
export { default as reportPage } from "./report.js";
